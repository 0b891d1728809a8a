"""How far a long loop is: a bar on a terminal, one line a minute where stderr is none."""

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

WIDTH = 80  # columns of the bar at most
INTERVAL = 60.0  # seconds between two lines
BAR = "{desc} |{bar}|{percentage:3.0f}%{postfix}"


class ProgressBar:
    """While entered, shows how much of `total` is done; nothing if not `shown` (by one of several processes).

    A display that cannot be written (the terminal was closed, the disk with the log is full) is given up:
    the work it shows continues. The bar is erased at the end.
    """

    def __init__(
        self,
        what: str,
        total: int,
        *,
        done: int = 0,
        starting: str = "",
        unit: str = "images",
        shown: bool = True,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what, self._total, self._done, self._unit = what, total, done, unit
        self._stream, self._clock = stream or sys.stderr, clock
        self._shown, self._is_terminal = shown, is_terminal(self._stream)
        self._bar: tqdm | None = None
        self._starting, self._note = starting, ""  # what is shown until the first update, and since the last
        self._said_at = clock()
        # The rate counts from the end of the first update: until then, the step was compiled.
        self._first: tuple[float, int] | None = None

    def __enter__(self) -> ProgressBar:
        if self._shown and self._is_terminal:
            with suppress(OSError):
                self._bar = tqdm(
                    total=self._total, initial=self._done, desc=self._what, bar_format=BAR, leave=False,
                    file=self._stream, ncols=_columns(self._stream), miniters=1,
                    postfix=self._starting or None,
                )  # fmt: skip
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            with suppress(OSError):
                self._bar.close()

    def update(self, count: int, note: str | None = None) -> None:
        """Adds `count`; `note` is shown behind all else from now on."""
        self._done += count
        self._note = self._note if note is None else note
        now = self._clock()
        self._first = self._first or (now, self._done)
        try:
            if self._bar is not None:
                self._bar.set_postfix_str(self._facts(now, short=True), refresh=False)
                self._bar.update(count)
            elif self._shown and not self._is_terminal and now - self._said_at >= INTERVAL:
                self._said_at = now
                print(f"{self._what}: {self._facts(now, short=False)}", file=self._stream, flush=True)
        except OSError:
            self._shown, self._bar = False, None

    def _facts(self, now: float, *, short: bool) -> str:
        of = "/" if short else " of "
        facts = [f"{self._done:,}{of}{self._total:,}" + ("" if short else f" {self._unit}")]
        since, before = self._first or (now, self._done)
        if self._done > before and now > since:
            rate = (self._done - before) / (now - since)
            facts += [f"{_rounded(rate)} {'img' if short and self._unit == 'images' else self._unit}/s"]
            facts += [f"{_clock_time((self._total - self._done) / rate)} left"]
        return ", ".join([*facts, *[self._note] * bool(self._note)])


def _columns(stream: TextIO) -> int:
    """One column less than the terminal has: some break the line when the last one is filled."""
    try:
        return min(WIDTH, os.get_terminal_size(stream.fileno()).columns or WIDTH) - 1
    except (OSError, ValueError):
        return WIDTH - 1


def _rounded(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"


def _clock_time(seconds: float) -> str:
    """As 0:07, 12:34 or 1:02:03."""
    minutes, left = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
