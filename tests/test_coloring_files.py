"""The files of scripts/colorize.py: what is read and skipped, progress, and what failures leave behind."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from helper_networks import write_export
from linewash.coloring import image_io, openraster, output_paths, progress
from linewash.coloring.cli import main
from linewash.coloring.colorizer import ColoredImage, colorize
from linewash.coloring.line_extraction import read_drawing
from linewash.coloring.model_loader import load
from linewash.coloring.output_paths import find_drawings
from linewash.coloring.progress import Progress
from linewash.samples.sketches import draw, encode_image, home, on_white
from PIL import Image

from training.errors import UsageError

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_export(tmp_path_factory.mktemp("networks") / "plain")


@pytest.fixture(scope="module")
def sketch() -> bytes:
    return encode_image(on_white(draw(home, 160, 120, 1.5, seed=1)))


@pytest.fixture(scope="module")
def colored(export: Path, sketch: bytes) -> ColoredImage:
    return colorize(read_drawing(sketch), load(export))[0]


def names(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


# -------------------------------------------------------------------------------------------- input files


def test_images_are_recognized_by_content_and_other_files_are_counted(
    tmp_path: Path, export: Path, sketch: bytes, capsys: Capture
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    jpeg = encode_image(on_white(draw(home, 160, 120, 1.5, seed=1)), "JPEG")
    for name in ("a.jpe", "b.jfif", "c.JPG", "without", "odd.dat"):
        (folder / name).write_bytes(jpeg)
    for name in ("x.pdf", "y.pdf", "z.psd", "notes.txt", ".hidden.png", "Thumbs.db", "._a.jpg"):
        (folder / name).write_bytes(jpeg if name.startswith(".") else b"%PDF-1.7")
    for below in (".ipynb_checkpoints", "@eaDir", "__MACOSX"):
        (folder / below).mkdir()
        (folder / below / "copy.png").write_bytes(sketch)
    assert main(["--run", str(export), str(folder), "-o", str(tmp_path / "out")]) == 0
    output = capsys.readouterr()
    assert names(tmp_path / "out") == {"a.png", "b.png", "c.png", "without.png", "odd.png"}
    assert "5 of 5 drawings coloured" in output.out
    assert "7 files skipped: hidden 3, .pdf 2, .psd 1, .txt 1; 3 folders skipped: hidden 3" in output.out
    assert output.err == ""


def test_own_output_is_not_coloured_again(
    tmp_path: Path, export: Path, sketch: bytes, capsys: Capture
) -> None:
    (tmp_path / "a.png").write_bytes(sketch)
    argv = ["--run", str(export), str(tmp_path), "-o", str(tmp_path / "colored"), "--layers"]
    argv += [str(tmp_path / "layers"), "--ora", str(tmp_path / "ora")]
    assert main(argv) == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    assert main(argv) == 0
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before
    assert "3 folders skipped: coloured by this command 3" in capsys.readouterr().out
    assert main(["--run", str(export), str(tmp_path), "-o", str(tmp_path)]) == 2
    assert str(tmp_path / "colored") in capsys.readouterr().err


def test_broken_links_and_pipes_in_a_folder_do_not_stop_the_command(
    tmp_path: Path, export: Path, sketch: bytes, capsys: Capture
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "good.png").write_bytes(sketch)
    (folder / "gone.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(folder / "pipe.png")
    assert main(["--run", str(export), str(folder), "-o", str(tmp_path / "out")]) == 1
    output = capsys.readouterr()
    assert "1 of 2 drawings coloured" in output.out
    assert "gone.png: the file could not be read" in output.err
    assert "1 file skipped: .png 1" in output.out
    assert names(tmp_path / "out") == {"good.png"}


def test_a_folder_that_cannot_be_listed_is_named(
    tmp_path: Path, export: Path, sketch: bytes, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(sketch)
    (tmp_path / "closed").mkdir()
    original = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return original(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert main(["--run", str(export), str(tmp_path), "-o", str(tmp_path / "out")]) == 1
    output = capsys.readouterr()
    assert f"{tmp_path / 'closed'}: the folder could not be listed: Permission denied" in output.err
    assert "1 of 1 drawings coloured" in output.out


def test_the_error_for_a_folder_without_images_lists_what_was_skipped(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7")
    with pytest.raises(UsageError, match=r"1 file skipped: \.pdf 1.*PNG.*SVG"):
        find_drawings([tmp_path])


def test_a_pipe_can_be_a_drawing(tmp_path: Path, export: Path, sketch: bytes, capsys: Capture) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(sketch))
    writer.start()
    assert main(["--run", str(export), str(pipe), "-o", str(tmp_path / "out.png")]) == 0
    writer.join()
    assert (tmp_path / "out.png").is_file()


# ---------------------------------------------------------------------------------------------- arguments


def test_a_tilde_and_a_trailing_slash_are_accepted(
    tmp_path: Path, export: Path, sketch: bytes, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.png").write_bytes(sketch)
    argv = ["--run=~/" + os.path.relpath(export, tmp_path), "~/a.png"]
    assert main([*argv, "--output=~/c.png", "--ora=~/c.ora", "--palette-out=~/c.gpl", "--layers=~/l"]) == 0
    assert {"c.png", "c.ora", "c.gpl"} < names(tmp_path)
    assert main([*argv, "-o", "~/folder.v2/"]) == 0
    assert (tmp_path / "folder.v2" / "a.png").is_file()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["s3://bucket/a.png", "-o", "x.png"], "s3://bucket/a.png is not on this machine"),
        (["a.png", "-o", "gs://bucket/x.png"], "gs://bucket/x.png is not on this machine"),
        (["", "-o", "x.png"], "the path is empty"),
        (["a.png", "-o", ""], "the path is empty"),
        (["a.png", "-o", "x.png", "--no-linse"], "did you mean --no-lines?"),
        (["a.png", "-o", "x.png", "--hints", "."], "--hints . is a folder"),
        (["a.png", "-o", "x.png", "--only-colors", "3,red"], "'red' is neither a number"),
        (["a.png", "-o", "x.png", "--only-colors", "3,,4"], "'' is neither a number"),
        (["a.png", "-o", "x.png", "--only-colors", "3, 4000"], "got 4000"),
        (["a.png", "-o", "x.png", "--svg", "x.pdf"], "--svg x.pdf: type a name that ends in .svg"),
        (["a.png", "-o", "x.png", "--overlay"], "unrecognized arguments: --overlay"),
    ],
)
def test_invalid_arguments_are_rejected(
    argv: list[str],
    message: str,
    tmp_path: Path,
    sketch: bytes,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.png").write_bytes(sketch)
    code = main(argv)
    err = capsys.readouterr().err
    assert (code, err.count("\n")) == (2, 1)
    assert message in err
    assert names(tmp_path) == {"a.png"}


def test_a_figure_is_cut_out_in_all_files(tmp_path: Path, export: Path, capsys: Capture) -> None:
    page = np.full((200, 300, 3), 255, np.uint8)
    cv2.circle(page, (150, 100), 60, (0, 0, 0), 3)
    (tmp_path / "a.png").write_bytes(encode_image(page))
    argv = ["--run", str(export), str(tmp_path / "a.png"), "-o", str(tmp_path / "o.png"), "--layers"]
    argv += [str(tmp_path / "layers"), "--svg", str(tmp_path / "o.svg"), "--background", "transparent"]
    for flags, line_opacity in (["--no-lines"], 0), ([], 255):
        assert main([*argv, *flags]) == 0, capsys.readouterr().err
        with Image.open(tmp_path / "o.png") as image:
            assert image.size == (300, 200)
            alpha = np.array(image.convert("RGBA"))[..., 3]
        assert alpha[5, 5] == 0
        assert alpha[100, 150] == 255
        assert alpha[100, 211] == line_opacity  # the outer half of the line lies on the background
        layers = sorted(names(tmp_path / "layers"))
        assert len(layers) == 2
        svg = (tmp_path / "o.svg").read_text()
        assert svg.count("<path") == (2 if line_opacity else 1)


def test_names_that_are_not_utf8_are_read_and_printed(
    tmp_path: Path, sketch: bytes, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xfccher"))
    run = write_export(folder / "run")
    (folder / "h\udce4user.png").write_bytes(sketch)
    assert main(["--run", str(run), str(folder / "h\udce4user.png"), "-o", str(folder / "out.png")]) == 0
    assert (folder / "out.png").is_file()
    assert "b\\udcfccher" in capfd.readouterr().out


# ---------------------------------------------------------------------------------------- after a failure


def test_a_failed_write_keeps_the_existing_file(
    tmp_path: Path, export: Path, sketch: bytes, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawing, out = tmp_path / "a.png", tmp_path / "out.ora"
    drawing.write_bytes(sketch)
    out.write_bytes(b"existing")
    original, calls = openraster._write_png_entry, []

    def fill_the_disk(*args: object) -> None:
        calls.append(args)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        original(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(openraster, "_write_png_entry", fill_the_disk)
    assert main(["--run", str(export), str(drawing), "-o", str(tmp_path / "o.png"), "--ora", str(out)]) == 1
    error = capsys.readouterr().err
    assert "No space left" in error
    assert error.count("\n") == 1
    assert out.read_bytes() == b"existing"
    assert names(tmp_path) == {"a.png", "out.ora", "o.png"}


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_a_signal_leaves_no_unfinished_files(
    number: int, code: int, tmp_path: Path, export: Path, sketch: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawing = tmp_path / "a.png"
    drawing.write_bytes(sketch)
    original = openraster._write_png_entry

    def interrupted(*args: object) -> None:
        original(*args)  # type: ignore[arg-type]
        os.kill(os.getpid(), number)

    monkeypatch.setattr(openraster, "_write_png_entry", interrupted)
    argv = [str(drawing), "-o", str(tmp_path / "o.png"), "--ora", str(tmp_path / "o.ora")]
    assert main(["--run", str(export), *argv]) == code
    assert names(tmp_path) == {"a.png", "o.png"}
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_unfinished_layers_of_a_killed_run_are_removed(
    tmp_path: Path, export: Path, sketch: bytes, capsys: Capture
) -> None:
    drawing, folder = tmp_path / "a.png", tmp_path / "layers"
    drawing.write_bytes(sketch)
    folder.mkdir()
    (folder / ".writing.lines.png").write_bytes(b"half")
    assert (
        main(["--run", str(export), str(drawing), "-o", str(tmp_path / "o.png"), "--layers", str(folder)])
        == 0
    )
    assert not [name for name in names(folder) if "writing" in name]


def test_too_little_memory_for_one_drawing_does_not_stop_the_others(
    tmp_path: Path, export: Path, sketch: bytes, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(sketch)
    original = image_io.read_file

    def read_file(path: Path) -> bytes:
        if path.name == "a.png":
            raise MemoryError
        return original(path)

    monkeypatch.setattr(image_io, "read_file", read_file)
    assert main(["--run", str(export), str(tmp_path), "-o", str(tmp_path / "out")]) == 1
    output = capsys.readouterr()
    assert "a.png: there is not enough memory" in output.err
    assert "1 of 2 drawings coloured" in output.out


def test_layers_are_generated_one_at_a_time(colored: ColoredImage, tmp_path: Path) -> None:
    height, width = 1200, 1600
    rng = np.random.default_rng(0)
    labels = cv2.resize(
        rng.integers(0, len(colored.palette), (30, 40)).astype(np.uint16), (width, height), interpolation=0
    )
    large = ColoredImage(
        labels, colored.palette, read_drawing(encode_image(on_white(draw(home, width, height, 4, seed=1))))
    )
    layer = height * width * 4
    assert large.drawing.line_opacity.any()  # computed once, before memory is traced
    tracemalloc.start()
    with (tmp_path / "a.ora").open("wb") as file:
        openraster.write_ora(large, file)
    output_paths._write_layers(tmp_path / "layers", large, lambda description: None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(names(tmp_path / "layers")) == 7
    assert peak < 3.5 * layer


# ----------------------------------------------------------------------------------------------- progress


class Screen(io.StringIO):
    """A stream that a progress bar takes for a terminal."""

    def isatty(self) -> bool:
        return True


def show_progress(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch, until: Callable[[str], bool]) -> str:
    """Returns what is written to `stream` during the second of three drawings."""
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("COLUMNS", "80")
    with Progress("colorize", num_drawings=3, num_steps=4, log_interval=0.01) as bar:
        for path in (Path("a.png"), Path("a long name that is shortened in the middle.png")):
            bar.start_drawing(path)
            for description in ("extracting lines", "choosing colours"):
                bar.start_step(description)
        for _ in range(2000):
            if until(stream.getvalue()):
                break
            time.sleep(0.005)
    return stream.getvalue()


def test_a_log_gets_lines_with_the_drawing_and_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    output = show_progress(io.StringIO(), monkeypatch, lambda text: text.count("choosing colours") > 2)
    line = output.splitlines()[-1]
    assert line.startswith("colorize: 2 of 3, a long na")
    assert "choosing colours, step 2 of 4, after 0 minutes" in line
    assert "\r" not in output


def test_a_terminal_gets_a_bar_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "BAR_DELAY", 0.0)
    monkeypatch.setattr(progress, "BAR_INTERVAL", 0.01)
    output = show_progress(Screen(), monkeypatch, lambda text: text.count("choosing colours") > 2)
    lines = [part for part in output.split("\r") if "choosing" in part]
    assert "2 of 3, a long na" in lines[-1]
    assert "42%" in lines[-1]
    assert all(len(part) <= 80 for part in output.split("\r"))
    assert output.split("\r")[-2].strip() == ""  # the bar is erased at the end


def test_a_drawing_that_takes_less_than_a_second_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "BAR_INTERVAL", 0.001)
    monkeypatch.setattr(progress, "BAR_DELAY", 1e9)
    updates: list[str] = []
    assert (
        show_progress(Screen(), monkeypatch, lambda text: len(updates) > 20 or bool(updates.append(text)))
        == ""
    )
