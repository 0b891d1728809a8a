"""Signs of life: a bar on a terminal, a line a minute in a log, and what a run says of its plan."""

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

from training.run.progress import ProgressBar, _clock_time
from training.tf_startup import show_status


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_in_a_log_it_is_a_line_a_minute() -> None:
    log, clock = io.StringIO(), Clock()
    with ProgressBar("epoch 2 of 5", 8000, stream=log, clock=clock) as meter:
        for step in range(250):
            clock.now += 1
            meter.update(16, "loss 1.234" if step == 40 else None)
    lines = log.getvalue().splitlines()
    assert len(lines) == 4
    assert lines[0] == "epoch 2 of 5: 960 of 8,000 images, 16 images/s, 7:20 left, loss 1.234"


def test_work_of_less_than_a_minute_says_nothing_in_a_log() -> None:
    log, clock = io.StringIO(), Clock()
    with ProgressBar("val", 8000, stream=log, clock=clock) as meter:
        for _ in range(59):
            clock.now += 1
            meter.update(16)
    assert log.getvalue() == ""


def on_terminal(columns: int = 80, **options: object) -> str:
    """What a meter writes to a terminal of so many columns."""
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    said: list[bytes] = []

    def read() -> None:
        with suppress(OSError):  # the terminal was closed
            while chunk := os.read(outer, 1 << 16):
                said.append(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(inner, "w") as terminal:
        first = {"starting": "compiling the first step"} | options
        with ProgressBar("epoch 12 of 100", 1_281_167, stream=terminal, **first) as meter:  # type: ignore[arg-type]
            for _ in range(20):
                meter.update(64, "loss 12.345")
                if meter._bar is not None:
                    meter._bar.refresh()
    reader.join()
    os.close(outer)
    return b"".join(said).decode()


@pytest.mark.parametrize("columns", [80, 60, 200])
def test_on_a_terminal_it_is_a_bar_that_fits_and_vanishes(columns: int) -> None:
    said = on_terminal(columns)
    shown = [part for part in said.replace("\n", "\r").split("\r") if part.strip()]
    assert max(map(len, shown)) < min(columns, 80)
    assert "compiling the first step" in shown[0] or columns < 80
    assert "epoch 12 of 100 |" in shown[-1]
    if columns >= 80:
        assert "1,280/1,281,167" in shown[-1]
        assert "img/s" in shown[-1]
        assert "left" in shown[-1]
    assert said.rstrip("\r").split("\r")[-1].strip() == ""
    assert said.endswith("\r")


def test_of_several_processes_one_shows_it() -> None:
    log, clock = io.StringIO(), Clock()
    with ProgressBar("epoch 1", 100, shown=False, stream=log, clock=clock) as meter:
        clock.now = 1000
        meter.update(10)
    assert log.getvalue() == ""


def test_a_display_that_is_gone_ends_no_work() -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(errno.EIO, "Input/output error")

    clock, done = Clock(), list[str]()
    with ProgressBar("epoch 1", 100, stream=Gone(), clock=clock) as meter:
        for _ in range(5):
            clock.now += 100
            meter.update(10)
    outer, inner = pty.openpty()
    with suppress(OSError), os.fdopen(inner, "w") as terminal:  # it cannot be flushed any more
        with ProgressBar("epoch 1", 100, stream=terminal) as meter:
            os.close(outer)  # the window is closed
            for _ in range(5):
                meter.update(10)
        done.append("all of it")
    assert done


@pytest.mark.parametrize(
    ("seconds", "shown"), [(7.4, "0:07"), (754, "12:34"), (3723, "1:02:03"), (-1, "0:00")]
)
def test_times_are_short(seconds: float, shown: str) -> None:
    assert _clock_time(seconds) == shown


def test_what_is_announced_is_nowhere_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    with show_status("starting TensorFlow"):
        pass
    assert capsys.readouterr().err == ""
