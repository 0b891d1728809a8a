"""Shows that the command is at work: a bar on a terminal, and in a log one line a minute."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Never

from tqdm import tqdm

QUIET = 1.0  # seconds before there is a bar: most drawings are coloured in less
TICK = 0.5  # seconds between two looks at the clock, so that the bar shows how time passes
MINUTE = 60.0  # seconds between two lines where there is no terminal
NAME = 20  # characters of a file's name that are shown


class Progress:
    """Which drawing is under way, and which step of it; a context manager, to be left when all is done.

    total: the drawings. steps: of each drawing.
    """

    def __init__(self, command: str, total: int, steps: int, every: float = MINUTE) -> None:
        self._command, self._total, self._steps, self._every = command, total, steps, every
        self._drawing, self._done, self._step, self._name, self._doing = 0, 0, 0, "", ""
        self._started = time.monotonic()
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._bar: tqdm[Never] | None = None
        self._lock, self._over = threading.Lock(), threading.Event()
        self._clock = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Progress:
        self._clock.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._clock.join()
        if self._bar is not None:
            self._bar.close()

    def begin(self, path: Path) -> None:
        """The next drawing."""
        with self._lock:
            self._drawing, self._step = self._drawing + 1, 0
            self._done = (self._drawing - 1) * self._steps
            self._name = _short(path.name)

    def step(self, doing: str) -> None:
        """What is done from now on with the drawing: one of its steps."""
        with self._lock:
            self._step += 1
            self._done = (self._drawing - 1) * self._steps + min(self._step, self._steps) - 1
            self._doing = doing

    def detail(self, doing: str) -> None:
        """As `step`, but within the same step."""
        with self._lock:
            self._doing = doing

    def note(self, sentence: str) -> None:
        """Prints a line on stderr, above the bar."""
        with self._lock:
            say(sentence)

    def _tick(self) -> None:
        wait = TICK if self._terminal else self._every
        while not self._over.wait(wait):
            with self._lock:
                if not self._terminal:
                    print(f"{self._command}: {self._line()}", file=sys.stderr, flush=True)
                elif time.monotonic() - self._started >= QUIET:
                    self._draw()

    def _draw(self) -> None:
        if self._bar is None:
            self._bar = self._new_bar()
        self._bar.n = self._done
        width = shutil.get_terminal_size().columns - 30  # what the rest of the line needs
        doing = _short(f"{self._count()}{self._name}, {self._doing}", width)
        self._bar.set_description_str(doing, refresh=True)

    def _new_bar(self) -> tqdm[Never]:
        bar: tqdm[Never] = tqdm(
            total=self._total * self._steps, leave=False, file=sys.stderr, dynamic_ncols=True,
            bar_format="{desc}: {percentage:3.0f}% |{bar}| {elapsed}",
        )  # fmt: skip
        bar.start_t -= time.monotonic() - self._started
        return bar

    def _count(self) -> str:
        return f"{self._drawing} of {self._total}, " if self._total > 1 else ""

    def _line(self) -> str:
        minutes = round((time.monotonic() - self._started) / 60)
        after = f"after {minutes} minute{'s' * (minutes != 1)}"
        return f"{self._count()}{self._name}: {self._doing}, step {self._step} of {self._steps}, {after}"


def say(sentence: str) -> None:
    """Prints a line on stderr, above a bar if there is one."""
    tqdm.write(sentence, file=sys.stderr)


def _short(text: str, length: int = NAME) -> str:
    """`text`, with its middle left out if it is longer than `length`."""
    if len(text) <= length:
        return text
    head = max(length - 1, 2) // 2
    return f"{text[:head]}…{text[head + 1 - max(length, 3) :]}"
