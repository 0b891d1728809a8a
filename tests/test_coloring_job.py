"""Colours folders and buckets as a Beam job: resumable, the same bytes anywhere, mistakes in one sentence."""

from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import cv2
import numpy as np
import pytest
from helper_commands import ROOT, run_main, run_script
from helper_jobs import file_contents
from linewash.coloring import Settings, colorize, load, read_drawing, to_ora, to_png, to_svg
from linewash.coloring.model_loader import STARTER
from linewash.coloring_job import batch_writer, cli, job, painter
from linewash.coloring_job.options import parse
from linewash.coloring_job.recipe import ColoringRecipe
from moto.server import ThreadedMotoServer
from PIL import Image

from preprocess.options import UsageError
from preprocess.rejects import Rejected
from preprocess.storage import registry

BUCKET = "linewash-coloring"
KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}


def color(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return run_main(cli.main, *arguments, **options)


def draw_circle(radius: int, side: int = 96) -> np.ndarray:
    page = np.full((side, side, 3), 255, np.uint8)
    cv2.circle(page, (side // 2, side // 2), radius, (20, 20, 20), 2, cv2.LINE_AA)
    return page


def encode(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawings of several formats, in subfolders, with other files among them."""
    folder = tmp_path_factory.mktemp("comic") / "pages"
    contents = {
        "01/a.png": encode(draw_circle(30)),
        "01/b.jpg": encode(draw_circle(20), "JPEG"),
        "02/a.webp": encode(draw_circle(40), "WEBP"),
        "02/house.png": encode(draw_circle(25)),
        "02/house.jpg": encode(draw_circle(35), "JPEG"),
        "scan": encode(draw_circle(15)),
        "notes.txt": b"not a drawing",
        "unknown.dat": b"not a drawing",
        ".hidden.png": b"hidden",
    }
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


DATAFLOW = ["--runner", "DataflowRunner", "--project", "p", "--region", "r", "--temp_location", "gs://a/t"]
PICTURES = ["01/a", "01/b", "02/a", "02/house.jpg", "02/house.png", "scan"]


@pytest.fixture(scope="module")
def colored(pages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawings of `pages` coloured by two workers, in all formats."""
    folder = tmp_path_factory.mktemp("job") / "colored"
    result = color("--input", pages, "--output", folder, "--direct_num_workers", 2, "--format", "svg,ora,png")
    assert result.returncode == 0, result.stderr
    assert "6 of 6 drawings coloured" in result.stdout
    assert ".dat 1" in result.stdout
    assert "hidden 1" in result.stdout
    return folder


def test_each_drawing_is_coloured_as_by_the_python_api(pages: Path, colored: Path) -> None:
    contents = file_contents(colored)
    names = {f"{picture}.{suffix}" for picture in PICTURES for suffix in ("png", "svg", "ora")}
    assert set(contents) == names | {"coloring.json", "rejects.jsonl"}
    assert contents["rejects.jsonl"] == b""
    image = colorize(read_drawing((pages / "02/house.jpg").read_bytes()), load())[0]
    assert contents["02/house.jpg.png"] == to_png(image)
    assert contents["02/house.jpg.svg"] == to_svg(image)
    assert contents["02/house.jpg.ora"] == to_ora(image)


def test_one_worker_and_another_runner_write_the_same_bytes(
    pages: Path, colored: Path, tmp_path: Path
) -> None:
    for folder, flags in (
        ("one", ["--direct_num_workers", 1]),
        ("named", ["--runner", "BundleBasedDirectRunner"]),
    ):
        result = color("--input", pages, "-o", tmp_path / folder, "--format", "png,svg,ora", *flags)
        assert result.returncode == 0, result.stderr
        assert file_contents(tmp_path / folder) == file_contents(colored)


def test_a_finished_job_has_nothing_to_do(pages: Path, colored: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in colored.rglob("*.*g")}
    result = color("--input", pages, "--output", colored, "--format", "png,svg,ora")
    assert result.returncode == 0
    assert "Nothing to do" in result.stdout
    assert {path: path.stat().st_mtime_ns for path in colored.rglob("*.*g")} == before


def test_only_missing_pictures_are_coloured(pages: Path, colored: Path, tmp_path: Path) -> None:
    folder = tmp_path / "colored"
    shutil.copytree(colored, folder)
    (folder / "01/a.svg").unlink()
    (folder / "scan.png").unlink()
    (folder / ".work").mkdir()
    (folder / ".work/left.tmp").touch()
    result = color("--input", pages, "--output", folder, "--format", "png,svg,ora")
    assert "2 of them in this run" in result.stdout
    assert file_contents(folder) == file_contents(colored)


def test_other_settings_or_another_network_are_refused(pages: Path, colored: Path, tmp_path: Path) -> None:
    arguments = ["--input", pages, "--output", colored, "--format", "png,svg,ora"]
    result = color(*arguments, "--background", "paint")
    assert_one_sentence(result, 2, "background auto (now paint)", "another --output")
    shutil.copytree(STARTER, tmp_path / "run/export")
    metadata = tmp_path / "run/export/export.json"
    metadata.write_text(metadata.read_text() + "\n")
    assert_one_sentence(color(*arguments, "--run", tmp_path / "run"), 2, "network ")


def assert_one_sentence(result: subprocess.CompletedProcess[str], code: int, *parts: str) -> None:
    assert result.returncode == code, result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("colorize_bucket.py: ")
    for part in parts:
        assert part in result.stderr


# ------------------------------------------------------------------------------------------------- rejects


def test_drawings_that_cannot_be_coloured_are_listed(tmp_path: Path) -> None:
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "good.png").write_bytes(encode(draw_circle(30)))
    (pages / "empty.png").write_bytes(b"")
    (pages / "broken.png").write_bytes(encode(draw_circle(30))[:200])
    (pages / "blank.png").write_bytes(encode(np.full((64, 64, 3), 255, np.uint8)))
    (pages / "large.png").write_bytes(encode(draw_circle(30, 200)))
    (pages / "gone.png").symlink_to("nowhere.png")
    arguments = ["--input", pages, "--output", tmp_path / "out", "--max_pixels", 128 * 128]
    result = color(*arguments)
    assert_one_sentence(result, 1, "5 of 6", "--max_reject_fraction", str(tmp_path / "out/rejects.jsonl"))
    rejects = [json.loads(line) for line in (tmp_path / "out/rejects.jsonl").read_text().splitlines()]
    assert {reject["key"]: reject["reason"] for reject in rejects} == {
        "blank.png": "no_lines", "broken.png": "format", "empty.png": "format", "gone.png": "unreadable",
        "large.png": "format",
    }  # fmt: skip
    assert all(reject["detail"] for reject in rejects)
    assert (tmp_path / "out/good.png").is_file()

    result = color(*arguments, "--max_reject_fraction", 1)
    assert result.returncode == 0
    assert "Nothing to do" in result.stdout
    assert "unreadable 1" in result.stdout
    (pages / "gone.png").unlink()
    (pages / "gone.png").write_bytes(encode(draw_circle(20)))
    result = color(*arguments, "--max-reject-fraction", 1, "--retry-rejects")
    assert "2 of 6 drawings coloured" in result.stdout
    assert (tmp_path / "out/rejects.jsonl").read_text().count("\n") == 4


def test_rejects_of_a_stopped_run_are_kept(pages: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert color("--input", pages, "-o", out).returncode == 0
    (out / "scan.png").unlink()
    receipts = out / ".work/receipts"
    receipts.mkdir(parents=True)
    reject = {"key": "scan", "reason": "no_lines", "detail": "none"}
    (receipts / "batch-000001.json").write_text(json.dumps({"colored": 3, "rejects": [reject]}))
    (receipts / "batch-000002.json").write_text("damaged")
    result = color("--input", pages, "-o", out, "--max_reject_fraction", 0.5)
    assert "no_lines 1" in result.stdout
    assert "Nothing to do" in result.stdout
    assert json.loads((out / "rejects.jsonl").read_text()) == reject


def test_too_little_memory_is_a_reject_and_a_fault_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, data = ColoringRecipe(Settings()), encode(draw_circle(30))

    def fail(error: Exception) -> None:
        def raise_error(*_: object) -> None:
            raise error

        monkeypatch.setattr(painter, "colorize", raise_error)

    fail(MemoryError())
    with pytest.raises(Rejected, match="memory"):
        painter.color_drawing(data, load(), recipe)
    fail(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        painter.color_drawing(data, load(), recipe)


def test_an_unexpected_error_names_the_drawing(
    pages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("no ink")

    monkeypatch.setattr(batch_writer, "color_drawing", fail)
    result = color("--input", pages, "-o", tmp_path / "out", "--runner", "BundleBasedDirectRunner")
    assert result.returncode == 1
    line = result.stderr.splitlines()[-1]
    assert "ZeroDivisionError: no ink" in line
    assert "0 of 6 drawings are finished" in line
    assert str(pages) in line
    assert "Traceback" not in result.stderr


# ------------------------------------------------------------------------------------------------- resume


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_job_continues(pages: Path, colored: Path, tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "out"
    command = [
        sys.executable,
        str(ROOT / "scripts/colorize_bucket.py"),
        "--input",
        str(pages),
        "-o",
        str(out),
    ]
    command += ["--format", "png,svg,ora", "--direct_num_workers", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not list(out.rglob("*.png")) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(number)
        errors = process.communicate(timeout=60)[1]
    if number is signal.SIGTERM:
        assert process.returncode == 143
        assert errors.count("\n") == 1
        assert "finished pictures are kept" in errors
    assert len(list(out.rglob("*.png"))) < len(PICTURES)
    result = color("--input", pages, "--output", out, "--format", "png,svg,ora")
    assert result.returncode == 0, result.stderr
    assert file_contents(out) == file_contents(colored)


# -------------------------------------------------------------------------------------------------- usage


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (["--input", "pages"], "--output"),
        (["-o", "out"], "--input PATTERN"),
        (["--input", "pages", "-o", "out", "--format", "png,gif"], "png, svg, ora"),
        (["--input", "pages", "-o", "out", "--size", "5"], "--size"),
        (["--input", "pages", "-o", "out", "--only_colors", "red"], "'red'"),
        (["--input", "pages", "-o", "out", "--only_colors", "999"], "999"),
        (["--input", "pages", "-o", "out", "--max_pixels", "0"], "--max_pixels"),
        (["--input", "pages", "-o", "out", "--max_reject_fraction", "2"], "--max_reject_fraction"),
        (["--input", "pages", "-o", "out", "--run", "pages"], "export.json"),
        (["--input", "pages", "-o", "out", "--backgrund", "paper"], "did you mean --background?"),
        (["--input", "pages", "-o", "out", "--workers", "2"], "--direct_num_workers"),
        (["--input", "gs://a/b", "-o", "gs://a/c", *DATAFLOW], "--sdk_container_image"),
        (["--input", "pages", "-o", "pages"], "pages/colored"),
        (["--input", "pages/02", "-o", "pages"], "pages/colored"),
        (["--input", "none", "-o", "out"], "none matches no drawing"),
        (["--input", "empty", "-o", "out"], "holds no drawing"),
        (["--input", "pages", "-o", "used"], "used holds other files (cat.jpg)"),
        (["--input", "pages/scan", "pages/scan", "-o", "out"], "given twice"),
        (["--input", "pages/01/a.png", "other/a.png", "-o", "out"], "in two runs"),
        (["--input", "case", "-o", "out"], "rename one"),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_sentence_and_writes_nothing(
    pages: Path, tmp_path: Path, flags: list[str], part: str
) -> None:
    (tmp_path / "pages").symlink_to(pages)
    for name in ("used/cat.jpg", "other/a.png", "case/A.png", "case/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(encode(draw_circle(9)))
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    result = color(*flags, cwd=tmp_path)
    assert_one_sentence(result, 2, part)
    assert sorted(tmp_path.rglob("*")) == before


def test_flags_are_those_of_colorize() -> None:
    flags = ["--no-lines", "--only-colors", "1,#ff8800", "--from", "photo", "--lines", "light"]
    flags += ["--decode", "mean", "--temperature", "0.5", "--project", "p"]
    parsed = parse(["--input", "a", "b", "-o", "c/", *flags])
    assert (parsed.input, parsed.output, parsed.beam) == (["a", "b"], "c", ["--project", "p"])
    settings = Settings("mean", temperature=0.5, only_colors=(1, "#ff8800"))
    assert parsed.recipe == ColoringRecipe(settings, "light", "photo", False)
    with pytest.raises(UsageError, match="empty"):
        parse(["--input", "a", "-o", ""])


def test_help_and_version() -> None:
    for flag, part in (("--help", "--only_colors"), ("--version", "colorize_bucket.py ")):
        result = color(flag)
        assert (result.returncode, result.stderr) == (0, "")
        assert part in result.stdout


# ------------------------------------------------------------------------------------------------- buckets


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, list[str]]]:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    url = f"http://127.0.0.1:{server.get_host_and_port()[1]}"
    client = boto3.client("s3", endpoint_url=url)
    client.create_bucket(Bucket=BUCKET)
    yield client, ["--s3_endpoint_url", url]
    registry.set_options([])
    server.stop()


def test_a_bucket_is_coloured_as_a_folder_is(
    s3: tuple[Any, list[str]], pages: Path, colored: Path, tmp_path: Path
) -> None:
    client, flags = s3
    for name, content in file_contents(pages).items():
        client.put_object(Bucket=BUCKET, Key=f"pages/{name}", Body=content)
    for name in ("export.json", "model.onnx"):
        client.put_object(Bucket=BUCKET, Key=f"network/{name}", Body=(STARTER / name).read_bytes())

    def stored() -> dict[str, bytes]:
        listed = client.list_objects_v2(Bucket=BUCKET, Prefix="out/")["Contents"]
        bodies = {row["Key"]: client.get_object(Bucket=BUCKET, Key=row["Key"])["Body"] for row in listed}
        return {name.removeprefix("out/"): body.read() for name, body in bodies.items()}

    url = f"s3://{BUCKET}"
    arguments = ["--input", f"{url}/pages", "--output", f"{url}/out", "--run", f"{url}/network", *flags]
    arguments += ["--format", "png,svg,ora"]
    # A new process, because the server of this one's workers may have started without the credentials.
    result = run_script("colorize_bucket.py", *arguments)
    assert result.returncode == 0, result.stderr
    assert stored() == file_contents(colored)
    client.delete_object(Bucket=BUCKET, Key="out/scan.ora")
    assert "1 of them in this run" in run_script("colorize_bucket.py", *arguments).stdout
    assert stored() == file_contents(colored)
    assert_one_sentence(color(*arguments, "--lines", "light"), 2, "lines auto (now light)")
    wrong = color("--input", f"{url}/pages", "--output", f"{url}/pages", *flags)
    assert_one_sentence(wrong, 2, "/pages/colored")
    wrong = color("--input", f"{url}/network", "--output", f"{url}/pages", *flags)
    assert wrong.returncode == 2
    file = run_script(
        "colorize_bucket.py", "--input", f"{url}/pages/02/a.webp", "--output", tmp_path / "out", *flags
    )
    assert file.returncode == 0, file.stderr
    assert (tmp_path / "out/a.png").read_bytes() == (colored / "02/a.png").read_bytes()


def test_the_network_is_shared_by_the_threads_of_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    from linewash.coloring_job import pipeline

    loads = []

    def load_once(output: str) -> Any:
        loads.append(output)
        return load()

    monkeypatch.setattr(pipeline, "load_network", load_once)
    function = pipeline._ColorBatch(ColoringRecipe(Settings()), "out", None)
    function.setup()
    network = function._network
    function.setup()
    assert function._network is network
    assert loads == ["out"]


def test_batches_keep_many_workers_busy(tmp_path: Path) -> None:
    from linewash.coloring_job.drawings import NamedDrawing

    from preprocess.sources import Image as Drawing

    for count, num_batches in ((1, 1), (5, 5), (300, 150), (20_000, 313)):
        drawings = [NamedDrawing(Drawing(f"{number}.png", "x"), str(number)) for number in range(count)]
        batches = job._plan(drawings, str(tmp_path))
        assert len(batches) == num_batches
        assert [stem for batch in batches for stem in batch.stems] == [drawing.stem for drawing in drawings]
        assert [path.name for path in tmp_path.iterdir()] == [".work"]
