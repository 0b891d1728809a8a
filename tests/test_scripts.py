"""The command lines of the scripts: help, wrong flags, paths, missing packages, full devices."""

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
from linewash.arguments import Parser, at_least, local_path, local_path_text, positive, run
from PIL import Image

from training.errors import UsageError, WorkError

ROOT = Path(__file__).resolve().parent.parent
# Arguments that each script's parser accepts. The files that they name do not exist.
SCRIPTS = {
    "linewash.coloring.cli": "a.png -o b.png",
    "inspect_shards": "dataset -o sheet.png",
    "design_palette": "--images photos",
    "compare_palettes": "--images photos",
    "compare_lines": "--images photos",
    "make_sketches": "sketches",
    "make_storybook": "book --count 1 --seed 0",
    "make_gallery": "a.svg -o gallery.png",
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
    "bench.coloring": "-o figures",
    "bench.guessing": "-o figures",
}


def call(name: str, *arguments: object) -> int:
    """Returns the exit code of a script's `main`."""
    return importlib.import_module(name).main([str(argument) for argument in arguments])


def test_all_scripts_are_listed() -> None:
    folder = ROOT / "scripts"
    paths = [
        path
        for path in (*folder.glob("*.py"), *folder.glob("bench/*.py"))
        if "    sys.exit(main())" in path.read_text()
    ]
    scripts = {".".join(path.relative_to(folder).with_suffix("").parts) for path in paths}
    tested_elsewhere = {"colorize", "colorize_bucket", "serve", "verify_shards"}
    assert scripts - tested_elsewhere == set(SCRIPTS) - {"linewash.coloring.cli"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_is_printed_and_a_wrong_flag_is_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(name, "--help") == 0
    assert "--help" in capsys.readouterr().out
    assert call(name, *SCRIPTS[name].split(), "--nonsense") == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    command = "colorize.py" if name == "linewash.coloring.cli" else name.replace(".", "/")
    assert output.err.startswith(f"{command}: ")


RUN_WITH_BLOCKED_PACKAGES = """
import contextlib, importlib, io, sys, json
blocked = {blocked!r}

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in blocked:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
sys.path[:0] = [{root!r}, {root!r} + '/scripts']
results = {{}}
for name, arguments in {scripts!r}.items():
    for argv in (['--help'], arguments.split()):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = importlib.import_module(name).main(argv)
        results[name + (' --help' if argv == ['--help'] else '')] = [code, out.getvalue(), err.getvalue()]
print(json.dumps(results))
"""


@pytest.mark.parametrize(
    ("blocked", "unaffected"),
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
def test_without_packages_the_help_works_and_the_error_says_what_to_install(
    blocked: list[str], unaffected: set[str], tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "photos" / "a.jpg")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    # bench.report needs no package; the others start processes, in which nothing is blocked.
    unaffected = unaffected | {"bench.report", "bench.soak", "bench.inference"}
    scripts = {name: arguments for name, arguments in SCRIPTS.items() if name not in unaffected}
    program = RUN_WITH_BLOCKED_PACKAGES.format(blocked=blocked, root=str(ROOT), scripts=scripts)
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for name, (code, out, err) in json.loads(result.stdout).items():
        if name.endswith("--help"):
            assert (code, err) == (0, ""), name
            assert "--help" in out, name
        else:
            assert (code, out, err.count("\n")) == (2, "", 1), (name, out, err)
            assert "is not installed: run " in err, name
            assert f"pip install --editable '{ROOT}[" in err, name


def test_a_full_device_is_an_error_and_a_closed_pipe_is_not() -> None:
    program = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'scripts')!r}]\n"
        "from linewash.coloring.cli import main\nsys.exit(main(['--help']))"
    )
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-c", program]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 1
    assert "the standard output, could not be read or written: No space left on device" in result.stderr
    assert result.stderr.count("\n") == 1
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (result.returncode, result.stderr) == (0, "")


def test_characters_that_the_terminal_lacks_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(file, encoding="ascii"))

    def work(_: object) -> int:
        print("ΔE \udcff")
        return 0

    assert run(Parser("x", None), work, []) == 0
    assert file.getvalue() == b"\\u0394E \\udcff\n"


@pytest.mark.parametrize(
    ("error", "code", "message"),
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
def test_each_error_is_one_sentence(
    error: Exception, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(_: object) -> int:
        raise error

    assert run(Parser("x", None), work, []) == code
    stderr = capsys.readouterr().err
    assert message in stderr
    assert stderr.count("\n") == 1


def test_paths_are_expanded_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


# ------------------------------------------------------------------------------------- single scripts


def test_the_report_names_a_damaged_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("{", "[]", '{"variants": {}}'):
        (tmp_path / "preprocess.json").write_text(text)
        assert call("bench.report", tmp_path) == 1
        assert str(tmp_path / "preprocess.json") in capsys.readouterr().err
    assert call("bench.report", tmp_path / "nowhere") == 2


def test_palettes_are_compared_on_images_with_unusual_suffixes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = helper_photos.make_image_folder(tmp_path / "images", 3)
    for path in sorted(folder.rglob("*.JPEG")):
        path.rename(path.with_suffix(".jfif"))
    sheet = tmp_path / "made" / "palettes.png"
    assert call("compare_palettes", "--images", folder, "--palettes", "grid", "-o", sheet) == 0
    assert "27 colours" in capsys.readouterr().out
    assert Image.open(sheet).size[0] > 192
    assert [path.name for path in sheet.parent.iterdir()] == ["palettes.png"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--palettes", "grid:x"], 2, "grid:x"),
        (["--palettes", "kmeans:"], 2, "kmeans:"),
        (["--palettes", "nowhere.gpl"], 1, "nowhere.gpl"),
        (["-o", "a.docx"], 2, "ends in .png"),
        (["--rows", "0"], 2, "--rows"),
    ],
)
def test_the_errors_of_compare_palettes_are_one_sentence(
    arguments: list[str], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = helper_photos.make_image_folder(tmp_path / "images", 2)
    assert call("compare_palettes", "--images", folder, *arguments) == code
    stderr = capsys.readouterr().err
    assert message in stderr
    assert stderr.count("\n") == 1
    assert call("compare_palettes", "--images", tmp_path / "nowhere") == 2


def test_a_sheet_that_is_too_large_or_not_an_image_is_refused(
    shared_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import inspect_shards

    monkeypatch.setattr(inspect_shards, "MAX_PIXELS", 10_000)
    assert call("inspect_shards", shared_dataset, "-o", tmp_path / "a.png") == 2
    assert "--count" in capsys.readouterr().err
    assert call("inspect_shards", shared_dataset, "-o", tmp_path / "a.docx") == 2
    assert "ends in .png" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_make_sketches_writes_drawings_and_hints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from linewash.samples import sketches

    samples = [sketches.Sketch("a.png", b"1"), sketches.Sketch("b.png", b"2", b"3")]
    monkeypatch.setattr(sketches, "sketches", lambda seed: samples)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert call("make_sketches", "~/out") == 0
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.png")) == [
        "out/drawings/a.png", "out/drawings/b.png", "out/hints/b.png"
    ]  # fmt: skip


def test_an_image_that_cannot_be_written_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from linewash.storybook.writer import write_images

    def raise_full(self: Path, target: object) -> Path:
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "replace", raise_full)
    with pytest.raises(OSError, match="No space left"):
        write_images(tmp_path, 0, "jpeg", [0])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
