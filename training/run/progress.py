"""A progress bar on a terminal; one line per minute if stderr is a file or a pipe."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TextIO

from tqdm import tqdm

from training.tf_startup import is_terminal

MAX_COLUMNS = 80
INTERVAL = 60.0  # seconds between two lines in a log
BAR_FORMAT = "{desc} |{bar}|{percentage:3.0f}%{postfix}"


class ProgressBar:
    """A context manager that shows how much of a loop is done, its rate and the time left.

    The bar is erased at the end. If the display cannot be written, because the terminal was closed or the
    disk with the log is full, it is abandoned and the loop continues.

    Args:
      title: text at the beginning of the line.
      total: number of units in the whole loop.
      done: number of units that were done before.
      note: text to show until the first update.
      unit: plural name of a unit.
      shown: False shows nothing, for all but one of several processes.
      stream: stderr by default.
      clock: returns seconds.
    """

    def __init__(
        self,
        title: str,
        total: int,
        *,
        done: int = 0,
        note: str = "",
        unit: str = "images",
        shown: bool = True,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._title, self._total, self._done, self._unit = title, total, done, unit
        self._stream, self._clock = stream or sys.stderr, clock
        self._shown, self._is_terminal = shown, is_terminal(self._stream)
        self._bar: tqdm | None = None
        self._first_note, self._note = note, ""
        self._printed_at = clock()
        # Time and units at the first update. The rate counts from there, because compiling comes before.
        self._first: tuple[float, int] | None = None

    def __enter__(self) -> ProgressBar:
        if self._shown and self._is_terminal:
            with suppress(OSError):
                self._bar = tqdm(
                    total=self._total, initial=self._done, desc=self._title, bar_format=BAR_FORMAT,
                    leave=False, file=self._stream, ncols=_columns(self._stream), miniters=1,
                    postfix=self._first_note or None,
                )  # fmt: skip
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            with suppress(OSError):
                self._bar.close()

    def update(self, count: int, note: str | None = None) -> None:
        """Adds `count` units; `note` replaces the text at the end of the line."""
        self._done += count
        self._note = self._note if note is None else note
        now = self._clock()
        self._first = self._first or (now, self._done)
        try:
            if self._bar is not None:
                self._bar.set_postfix_str(self._status(now, short=True), refresh=False)
                self._bar.update(count)
            elif self._shown and not self._is_terminal and now - self._printed_at >= INTERVAL:
                self._printed_at = now
                print(f"{self._title}: {self._status(now, short=False)}", file=self._stream, flush=True)
        except OSError:
            self._shown, self._bar = False, None

    def _status(self, now: float, *, short: bool) -> str:
        separator = "/" if short else " of "
        parts = [f"{self._done:,}{separator}{self._total:,}" + ("" if short else f" {self._unit}")]
        since, before = self._first or (now, self._done)
        if self._done > before and now > since:
            rate = (self._done - before) / (now - since)
            parts += [f"{_format_rate(rate)} {'img' if short and self._unit == 'images' else self._unit}/s"]
            parts += [f"{_format_time((self._total - self._done) / rate)} left"]
        return ", ".join([*parts, *[self._note] * bool(self._note)])


def _columns(stream: TextIO) -> int:
    """Returns the width of the bar: one column less than the terminal, as some wrap a full line."""
    try:
        return min(MAX_COLUMNS, os.get_terminal_size(stream.fileno()).columns or MAX_COLUMNS) - 1
    except (OSError, ValueError):
        return MAX_COLUMNS - 1


def _format_rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"


def _format_time(seconds: float) -> str:
    """Formats seconds as 0:07, 12:34 or 1:02:03."""
    minutes, seconds = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
