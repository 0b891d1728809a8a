"""Which files colouring takes and leaves, what it shows while it works, and what a stop leaves behind."""

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
from linewash.coloring import image_io, output_paths, progress
from linewash.coloring import openraster as layers_module
from linewash.coloring.cli import main
from linewash.coloring.colorize import Picture, colorize
from linewash.coloring.line_extraction import read_drawing
from linewash.coloring.model_loader import load
from linewash.coloring.output_paths import find_drawings
from linewash.coloring.progress import Progress
from linewash.samples.sketches import draw, encode_image, home, on_white

from training.errors import UsageError

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_export(tmp_path_factory.mktemp("networks") / "plain")


@pytest.fixture(scope="module")
def sketch() -> bytes:
    return encode_image(on_white(draw(home, 160, 120, 1.5, seed=1)))


@pytest.fixture(scope="module")
def picture(export: Path, sketch: bytes) -> Picture:
    return colorize(read_drawing(sketch), load(export))[0]


def names(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


# ----------------------------------------------------------------------------------------- what is taken


def test_pictures_are_taken_by_content_and_the_rest_is_counted(
    tmp_path: Path, export: Path, sketch: bytes, capsys: Capture
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    jpeg = encode_image(on_white(draw(home, 160, 120, 1.5, seed=1)), "JPEG")
    for name in ("a.jpe", "b.jfif", "c.JPG", "without", "odd.dat"):
        (folder / name).write_bytes(jpeg)
    for name in ("x.svg", "y.svg", "z.psd", "notes.txt", ".hidden.png", "Thumbs.db", "._a.jpg"):
        (folder / name).write_bytes(jpeg if name.startswith(".") else b"<svg/>")
    for below in (".ipynb_checkpoints", "@eaDir", "__MACOSX"):
        (folder / below).mkdir()
        (folder / below / "copy.png").write_bytes(sketch)
    assert main(["--run", str(export), str(folder), "-o", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    assert names(tmp_path / "out") == {"a.png", "b.png", "c.png", "without.png", "odd.png"}
    assert "5 of 5 drawings coloured" in said.out
    assert "7 files skipped: hidden 3, .svg 2, .psd 1, .txt 1; 3 folders skipped: hidden 3" in said.out
    assert said.err == ""


def test_what_was_coloured_is_not_coloured_again(
    tmp_path: Path, export: Path, sketch: bytes, capsys: Capture
) -> None:
    (tmp_path / "a.png").write_bytes(sketch)
    words = ["--run", str(export), str(tmp_path), "-o", str(tmp_path / "colored"), "--layers"]
    words += [str(tmp_path / "layers"), "--ora", str(tmp_path / "ora")]
    assert main(words) == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    assert main(words) == 0
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before
    assert "3 folders skipped: coloured by this command 3" in capsys.readouterr().out
    assert main(["--run", str(export), str(tmp_path), "-o", str(tmp_path)]) == 2
    assert str(tmp_path / "colored") in capsys.readouterr().err


def test_broken_links_and_pipes_do_not_end_a_folder(
    tmp_path: Path, export: Path, sketch: bytes, capsys: Capture
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "good.png").write_bytes(sketch)
    (folder / "gone.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(folder / "pipe.png")
    assert main(["--run", str(export), str(folder), "-o", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert "1 of 2 drawings coloured" in said.out
    assert "gone.png: it could not be read" in said.err
    assert "1 file skipped: .png 1" in said.out
    assert names(tmp_path / "out") == {"good.png"}


def test_a_folder_that_cannot_be_listed_is_named(
    tmp_path: Path, export: Path, sketch: bytes, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(sketch)
    (tmp_path / "closed").mkdir()
    listed = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert main(["--run", str(export), str(tmp_path), "-o", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert f"{tmp_path / 'closed'}: it could not be listed: Permission denied" in said.err
    assert "1 of 1 drawings coloured" in said.out


def test_a_folder_without_pictures_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "a.svg").write_bytes(b"<svg/>")
    with pytest.raises(UsageError, match=r"1 file skipped: \.svg 1.*PNG"):
        find_drawings([tmp_path])


def test_a_pipe_can_be_a_drawing(tmp_path: Path, export: Path, sketch: bytes, capsys: Capture) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(sketch))
    writer.start()
    assert main(["--run", str(export), str(pipe), "-o", str(tmp_path / "out.png")]) == 0
    writer.join()
    assert (tmp_path / "out.png").is_file()


# ---------------------------------------------------------------------------------------- what is typed


def test_a_tilde_and_a_slash_at_the_end_are_understood(
    tmp_path: Path, export: Path, sketch: bytes, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.png").write_bytes(sketch)
    words = ["--run=~/" + os.path.relpath(export, tmp_path), "~/a.png"]
    assert main([*words, "--out=~/c.png", "--ora=~/c.ora", "--palette-out=~/c.gpl", "--layers=~/l"]) == 0
    assert {"c.png", "c.ora", "c.gpl"} < names(tmp_path)
    assert main([*words, "-o", "~/folder.v2/"]) == 0
    assert (tmp_path / "folder.v2" / "a.png").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["s3://bucket/a.png", "-o", "x.png"], "s3://bucket/a.png is not on this machine"),
        (["a.png", "-o", "gs://bucket/x.png"], "gs://bucket/x.png is not on this machine"),
        (["", "-o", "x.png"], "the path is empty"),
        (["a.png", "-o", ""], "the path is empty"),
        (["a.png", "-o", "x.png", "--overlya"], "did you mean --overlay?"),
        (["a.png", "-o", "x.png", "--hints", "."], "--hints . is a folder"),
    ],
)
def test_paths_that_cannot_be_meant_are_refused(
    words: list[str],
    said: str,
    tmp_path: Path,
    sketch: bytes,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.png").write_bytes(sketch)
    try:
        code = main(words)
    except SystemExit as e:
        code = e.code  # type: ignore[assignment]
    err = capsys.readouterr().err
    assert (code, err.count("\n")) == (2, 1)
    assert said in err
    assert names(tmp_path) == {"a.png"}


def test_names_that_are_not_utf8_are_coloured_and_said(
    tmp_path: Path, sketch: bytes, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xfccher"))
    run = write_export(folder / "run")
    (folder / "h\udce4user.png").write_bytes(sketch)
    assert main(["--run", str(run), str(folder / "h\udce4user.png"), "-o", str(folder / "out.png")]) == 0
    assert (folder / "out.png").is_file()
    assert "b\\udcfccher" in capfd.readouterr().out


# ----------------------------------------------------------------------------------- what is left behind


def test_a_failure_in_the_middle_leaves_what_was_there(
    tmp_path: Path, export: Path, sketch: bytes, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawing, out = tmp_path / "a.png", tmp_path / "out.ora"
    drawing.write_bytes(sketch)
    out.write_bytes(b"mine")
    real, calls = layers_module._put_png, []

    def fill_the_disk(*args: object) -> None:
        calls.append(args)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(layers_module, "_put_png", fill_the_disk)
    assert main(["--run", str(export), str(drawing), "-o", str(tmp_path / "o.png"), "--ora", str(out)]) == 1
    said = capsys.readouterr().err
    assert "No space left" in said
    assert said.count("\n") == 1
    assert out.read_bytes() == b"mine"
    assert names(tmp_path) == {"a.png", "out.ora", "o.png"}


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_a_signal_ends_it_and_leaves_nothing_unfinished(
    number: int, code: int, tmp_path: Path, export: Path, sketch: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawing = tmp_path / "a.png"
    drawing.write_bytes(sketch)
    real = layers_module._put_png

    def interrupted(*args: object) -> None:
        real(*args)  # type: ignore[arg-type]
        os.kill(os.getpid(), number)

    monkeypatch.setattr(layers_module, "_put_png", interrupted)
    words = [str(drawing), "-o", str(tmp_path / "o.png"), "--ora", str(tmp_path / "o.ora")]
    assert main(["--run", str(export), *words]) == code
    assert names(tmp_path) == {"a.png", "o.png"}
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_layers_that_a_killed_run_left_unfinished_do_not_stop_the_next(
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


def test_no_memory_for_one_drawing_is_said_of_it_and_the_others_go_on(
    tmp_path: Path, export: Path, sketch: bytes, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(sketch)
    real = image_io.read_file

    def read_file(path: Path) -> bytes:
        if path.name == "a.png":
            raise MemoryError
        return real(path)

    monkeypatch.setattr(image_io, "read_file", read_file)
    assert main(["--run", str(export), str(tmp_path), "-o", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert "a.png: there is not enough memory" in said.err
    assert "1 of 2 drawings coloured" in said.out


def test_layers_are_made_one_at_a_time(picture: Picture, tmp_path: Path) -> None:
    height, width = 1200, 1600
    rng = np.random.default_rng(0)
    labels = cv2.resize(
        rng.integers(0, len(picture.palette), (30, 40)).astype(np.uint16), (width, height), interpolation=0
    )
    large = Picture(
        labels, picture.palette, read_drawing(encode_image(on_white(draw(home, width, height, 4, seed=1))))
    )
    layer = height * width * 4
    assert large.drawing.ink.any()  # made once, before memory is counted
    tracemalloc.start()
    with (tmp_path / "a.ora").open("wb") as file:
        layers_module.write_ora(large, file)
    output_paths._write_layers(tmp_path / "layers", large, lambda doing: None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(names(tmp_path / "layers")) == 7
    assert peak < 3.5 * layer


# ------------------------------------------------------------------------------------------ what is shown


class Screen(io.StringIO):
    """A terminal, as far as a progress bar can tell."""

    def isatty(self) -> bool:
        return True


def shown(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch, until: Callable[[str], bool]) -> str:
    """What is written to `stream` while the second of three drawings is under way."""
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("COLUMNS", "80")
    with Progress("colorize", total=3, steps=4, every=0.01) as meter:
        for path in (Path("a.png"), Path("a long name that nobody would want to read.png")):
            meter.begin(path)
            for doing in ("finding its lines", "choosing colours"):
                meter.step(doing)
        for _ in range(2000):
            if until(stream.getvalue()):
                break
            time.sleep(0.005)
    return stream.getvalue()


def test_a_log_gets_lines_that_say_which_step_of_which_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    said = shown(io.StringIO(), monkeypatch, lambda text: text.count("choosing colours") > 2)
    line = said.splitlines()[-1]
    assert line.startswith("colorize: 2 of 3, a long na")
    assert "choosing colours, step 2 of 4, after 0 minutes" in line
    assert "\r" not in said


def test_a_terminal_gets_a_bar_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "QUIET", 0.0)
    monkeypatch.setattr(progress, "TICK", 0.01)
    said = shown(Screen(), monkeypatch, lambda text: text.count("choosing colours") > 2)
    lines = [part for part in said.split("\r") if "choosing" in part]
    assert "2 of 3, a long na" in lines[-1]
    assert "42%" in lines[-1]
    assert all(len(part) <= 80 for part in said.split("\r"))
    assert said.split("\r")[-2].strip() == ""  # the bar is gone in the end


def test_a_drawing_that_takes_less_than_a_second_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "TICK", 0.001)
    monkeypatch.setattr(progress, "QUIET", 1e9)
    ticks: list[str] = []
    assert shown(Screen(), monkeypatch, lambda text: len(ticks) > 20 or bool(ticks.append(text))) == ""
