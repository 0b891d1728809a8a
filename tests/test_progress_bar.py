"""The progress bar: on a terminal, in a log, and when its output is closed."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import pty
import struct
import termios
import threading
from contextlib import suppress

import pytest

from training.run.progress import ProgressBar, _format_time
from training.tf_startup import show_status


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_log_gets_one_line_per_minute() -> None:
    log, clock = io.StringIO(), Clock()
    with ProgressBar("epoch 2 of 5", 8000, stream=log, clock=clock) as bar:
        for step in range(250):
            clock.now += 1
            bar.update(16, "loss 1.234" if step == 40 else None)
    lines = log.getvalue().splitlines()
    assert len(lines) == 4
    assert lines[0] == "epoch 2 of 5: 960 of 8,000 images, 16 images/s, 7:20 left, loss 1.234"


def test_a_log_gets_no_line_for_less_than_a_minute() -> None:
    log, clock = io.StringIO(), Clock()
    with ProgressBar("val", 8000, stream=log, clock=clock) as bar:
        for _ in range(59):
            clock.now += 1
            bar.update(16)
    assert log.getvalue() == ""


def on_terminal(columns: int = 80, **options: object) -> str:
    """Returns the output of a progress bar on a terminal with this number of columns."""
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    chunks: list[bytes] = []

    def read() -> None:
        with suppress(OSError):  # the terminal was closed
            while chunk := os.read(outer, 1 << 16):
                chunks.append(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(inner, "w") as terminal:
        first = {"note": "compiling the first step"} | options
        with ProgressBar("epoch 12 of 100", 1_281_167, stream=terminal, **first) as bar:  # type: ignore[arg-type]
            for _ in range(20):
                bar.update(64, "loss 12.345")
                if bar._bar is not None:
                    bar._bar.refresh()
    reader.join()
    os.close(outer)
    return b"".join(chunks).decode()


@pytest.mark.parametrize("columns", [80, 60, 200])
def test_the_bar_fits_the_terminal_and_is_erased(columns: int) -> None:
    output = on_terminal(columns)
    shown = [part for part in output.replace("\n", "\r").split("\r") if part.strip()]
    assert max(map(len, shown)) < min(columns, 80)
    assert "compiling the first step" in shown[0] or columns < 80
    assert "epoch 12 of 100 |" in shown[-1]
    if columns >= 80:
        assert "1,280/1,281,167" in shown[-1]
        assert "img/s" in shown[-1]
        assert "left" in shown[-1]
    assert output.rstrip("\r").split("\r")[-1].strip() == ""
    assert output.endswith("\r")


def test_nothing_is_shown_by_other_processes() -> None:
    log, clock = io.StringIO(), Clock()
    with ProgressBar("epoch 1", 100, shown=False, stream=log, clock=clock) as bar:
        clock.now = 1000
        bar.update(10)
    assert log.getvalue() == ""


def test_a_closed_display_does_not_end_the_loop() -> None:
    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(errno.EIO, "Input/output error")

    clock, done = Clock(), list[str]()
    with ProgressBar("epoch 1", 100, stream=Closed(), clock=clock) as bar:
        for _ in range(5):
            clock.now += 100
            bar.update(10)
    outer, inner = pty.openpty()
    # suppress: the file cannot be flushed after the window is closed.
    with suppress(OSError), os.fdopen(inner, "w") as terminal:
        with ProgressBar("epoch 1", 100, stream=terminal) as bar:
            os.close(outer)  # the window is closed
            for _ in range(5):
                bar.update(10)
        done.append("all of it")
    assert done


@pytest.mark.parametrize(
    ("seconds", "shown"), [(7.4, "0:07"), (754, "12:34"), (3723, "1:02:03"), (-1, "0:00")]
)
def test_format_of_times(seconds: float, shown: str) -> None:
    assert _format_time(seconds) == shown


def test_a_status_is_not_shown_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    with show_status("starting TensorFlow"):
        pass
    assert capsys.readouterr().err == ""
