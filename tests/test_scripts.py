"""How the scripts' command lines end: help, slips, paths, missing packages, full devices; in process."""

from __future__ import annotations

import importlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import helper_photos
import numpy as np
import pytest
from linewash.coloring.arguments import Parser, at_least, local_path, local_path_text, positive, run
from PIL import Image

from training.errors import UsageError, WorkError

ROOT = Path(__file__).resolve().parent.parent
# Of each script: words that are right as far as the parser can tell, and what else may be missing.
SCRIPTS = {
    "linewash.coloring.cli": "a.png -o b.png",
    "inspect_shards": "dataset -o sheet.png",
    "compare_palettes": "--images photos",
    "compare_decodes": "--images photos",
    "make_sketches": "sketches",
    "make_storybook": "book --count 1 --seed 0",
    "fuzz": "page --replay a.png",
    "bench.soak": "-o figures",
    "bench.report": "figures",
    "bench.input": "--count 10",
    "bench.planning": "--variant plan --count 10",
    "bench.prefetch": "--images photos",
    "bench.step": "--variant linewash",
    "bench.inference": "",
    "bench.preprocess": "--images photos",
    "bench.epochs": "--images photos",
}


def call(name: str, *words: object) -> int:
    """The exit code of a script's `main`."""
    try:
        return importlib.import_module(name).main([str(word) for word in words])
    except SystemExit as e:
        return e.code  # type: ignore[return-value]


def test_every_script_is_here() -> None:
    called = "    sys.exit(main())"
    folder = ROOT / "scripts"
    paths = [
        path for path in (*folder.glob("*.py"), *folder.glob("bench/*.py")) if called in path.read_text()
    ]
    scripts = {".".join(path.relative_to(folder).with_suffix("").parts) for path in paths}
    elsewhere = {"colorize", "serve", "verify_shards"}  # linewash.coloring.cli; tests of their own
    assert scripts - elsewhere == set(SCRIPTS) - {"linewash.coloring.cli"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_is_printed_and_a_slip_is_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(name, "--help") == 0
    assert "--help" in capsys.readouterr().out
    assert call(name, *SCRIPTS[name].split(), "--nonsense") == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith(
        "colorize: " if name == "linewash.coloring.cli" else f"{name.replace('.', '/')}: "
    )


MISSING = """
import contextlib, importlib, io, sys, json
blocked = {blocked!r}

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in blocked:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
sys.path[:0] = [{root!r}, {root!r} + '/scripts']
found = {{}}
for name, words in {scripts!r}.items():
    for words in ('--help', words):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = importlib.import_module(name).main(words.split())
            except SystemExit as e:
                code = e.code
        found[name + (' --help' if words == '--help' else '')] = [code, out.getvalue(), err.getvalue()]
print(json.dumps(found))
"""


@pytest.mark.parametrize(
    ("blocked", "content"),
    [
        (
            [
                "numpy",
                "msgspec",
                "google",
                "google_crc32c",
                "tqdm",
                "cv2",
                "PIL",
                "onnxruntime",
                "tensorflow",
            ],
            set(),
        ),
        (
            ["cv2", "PIL", "apache_beam", "simplejpeg", "onnxruntime", "tensorflow", "keras"],
            {"bench.input", "bench.planning", "bench.preprocess"},
        ),
    ],
    ids=["nothing installed", "no extra installed"],
)
def test_without_its_packages_a_script_has_its_help_and_says_what_to_install(
    blocked: list[str], content: set[str], tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "photos" / "a.jpg")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    # The first of these reads and writes text alone; the others start processes, in which all is installed.
    content = content | {"bench.report", "bench.soak", "bench.inference"}
    scripts = {name: words for name, words in SCRIPTS.items() if name not in content}
    program = MISSING.format(blocked=blocked, root=str(ROOT), scripts=scripts)
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name, (code, out, err) in json.loads(done.stdout).items():
        if name.endswith("--help"):
            assert (code, err) == (0, ""), name
            assert "--help" in out, name
        else:
            assert (code, out, err.count("\n")) == (2, "", 1), (name, out, err)
            assert "is not installed: run " in err, name
            assert f"pip install --editable '{ROOT}[" in err, name


def test_a_reader_that_has_read_enough_is_no_failure_and_a_full_device_is() -> None:
    program = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'scripts')!r}]\n"
        "from linewash.coloring.cli import main\nsys.exit(main(['--help']))"
    )
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert "the standard output, could not be read or written: No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", program], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_any_text_can_be_printed_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(file, encoding="ascii"))

    def work(_: object) -> int:
        print("ΔE \udcff")
        return 0

    assert run(Parser("x", None), work, []) == 0
    assert file.getvalue() == b"\\u0394E \\udcff\n"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OSError(28, "No space left on device", "a.png"), 1, "a.png"),
        (PermissionError(13, "Permission denied", b"\xff.png"), 1, "Permission denied"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), 1, "utf-8"),
        (MemoryError(), 1, "not enough memory"),
        (ModuleNotFoundError("No module named 'cv2'", name="cv2"), 2, "cv2 is not installed"),
        (UsageError("that"), 2, "x: that"),
        (WorkError("this"), 1, "x: this"),
    ],
)
def test_what_fails_is_one_sentence(
    error: Exception, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(_: object) -> int:
        raise error

    assert run(Parser("x", None), work, []) == code
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_typed_paths_are_expanded_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import argparse

    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_path("~/a") == tmp_path / "a"
    assert local_path_text("~/a/") == f"{tmp_path}/a/"
    for text in ("", "s3://bucket/a", "https://example.org/a.png"):
        with pytest.raises(argparse.ArgumentTypeError):
            local_path(text)


def test_numbers_out_of_range_are_refused() -> None:
    import argparse

    assert at_least(1)("12") == 12
    assert positive("0.5") == 0.5
    for convert, text in ((at_least(1), "0"), (at_least(0), "-1"), (at_least(1), "x"), (positive, "nan")):
        with pytest.raises(argparse.ArgumentTypeError, match=text):
            convert(text)


# ------------------------------------------------------------------------------------- script by script


def test_a_report_of_damaged_figures_names_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for text in ("{", "[]", '{"variants": {}}'):
        (tmp_path / "preprocess.json").write_text(text)
        assert call("bench.report", tmp_path) == 1
        assert str(tmp_path / "preprocess.json") in capsys.readouterr().err
    assert call("bench.report", tmp_path / "nowhere") == 2


def test_palettes_are_compared_on_photographs_of_any_spelling(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = helper_photos.folder(tmp_path / "images", 3)
    for path in sorted(folder.rglob("*.JPEG")):
        path.rename(path.with_suffix(".jfif"))
    picture = tmp_path / "made" / "palettes.png"
    assert call("compare_palettes", "--images", folder, "--palettes", "grid", "-o", picture) == 0
    assert "27 colours" in capsys.readouterr().out
    assert Image.open(picture).size[0] > 192
    assert [path.name for path in picture.parent.iterdir()] == ["palettes.png"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--palettes", "grid:x"], 2, "grid:x"),
        (["--palettes", "kmeans:"], 2, "kmeans:"),
        (["--palettes", "nowhere.gpl"], 1, "nowhere.gpl"),
        (["-o", "a.docx"], 2, "ends in .png"),
        (["--rows", "0"], 2, "--rows"),
    ],
)
def test_palettes_that_cannot_be_compared_are_sentences(
    words: list[str], code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = helper_photos.folder(tmp_path / "images", 2)
    assert call("compare_palettes", "--images", folder, *words) == code
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert call("compare_palettes", "--images", tmp_path / "nowhere") == 2


def test_a_sheet_too_large_or_of_a_split_that_is_not_there_is_a_sentence(
    shared_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import inspect_shards

    monkeypatch.setattr(inspect_shards, "MAX_PIXELS", 10_000)
    assert call("inspect_shards", shared_dataset, "-o", tmp_path / "a.png") == 2
    assert "--count" in capsys.readouterr().err
    assert call("inspect_shards", shared_dataset, "-o", tmp_path / "a.docx") == 2
    assert "ends in .png" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_sketches_are_the_files_of_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from linewash.samples import sketches

    made = [sketches.Sketch("a.png", b"1"), sketches.Sketch("b.png", b"2", b"3")]
    monkeypatch.setattr(sketches, "sketches", lambda seed: made)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert call("make_sketches", "~/out") == 0
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.png")) == [
        "out/drawings/a.png", "out/drawings/b.png", "out/hints/b.png"
    ]  # fmt: skip


def test_a_storybook_leaves_no_half_written_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from linewash.storybook.writer import write_images

    def full(self: Path, target: object) -> Path:
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_images(tmp_path, 0, [0])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
