"""Shows the progress of a command: a bar on a terminal, one line per minute in a log.

Unlike `training.run.progress` it has a thread of its own, because a single step on a large drawing may take
minutes.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Never

from tqdm import tqdm

BAR_DELAY = 1.0  # seconds before a bar appears: most drawings are coloured in less
BAR_INTERVAL = 0.5  # seconds between two updates of the bar, which also shows the elapsed time
LOG_INTERVAL = 60.0  # seconds between two lines when stderr is not a terminal
MAX_NAME = 20  # characters of a file name that are shown


class Progress:
    """Shows the current drawing and step while the context is entered.

    Args:
      command: the name that begins each line.
      num_drawings: number of drawings.
      num_steps: number of steps per drawing.
      log_interval: seconds between two lines when stderr is not a terminal.
    """

    def __init__(
        self, command: str, num_drawings: int, num_steps: int, log_interval: float = LOG_INTERVAL
    ) -> None:
        self._command, self._num_drawings, self._num_steps = command, num_drawings, num_steps
        self._log_interval = log_interval
        self._drawing, self._completed, self._step, self._name, self._description = 0, 0, 0, "", ""
        self._started = time.monotonic()
        self._is_terminal = sys.stderr is not None and sys.stderr.isatty()
        self._bar: tqdm[Never] | None = None
        self._lock, self._finished = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._update_regularly, daemon=True)

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finished.set()
        self._thread.join()
        if self._bar is not None:
            self._bar.close()

    def start_drawing(self, path: Path) -> None:
        """Begins the next drawing."""
        with self._lock:
            self._drawing, self._step = self._drawing + 1, 0
            self._completed = (self._drawing - 1) * self._num_steps
            self._name = _shorten(path.name)

    def start_step(self, description: str) -> None:
        """Begins the next step of the drawing."""
        with self._lock:
            self._step += 1
            self._completed = (self._drawing - 1) * self._num_steps + min(self._step, self._num_steps) - 1
            self._description = description

    def describe(self, description: str) -> None:
        """Replaces the description of the current step."""
        with self._lock:
            self._description = description

    def print_line(self, text: str) -> None:
        """Prints a line on stderr, above the bar."""
        with self._lock:
            print_above_bar(text)

    def _update_regularly(self) -> None:
        interval = BAR_INTERVAL if self._is_terminal else self._log_interval
        while not self._finished.wait(interval):
            with self._lock:
                if not self._is_terminal:
                    print(f"{self._command}: {self._log_line()}", file=sys.stderr, flush=True)
                elif time.monotonic() - self._started >= BAR_DELAY:
                    self._update_bar()

    def _update_bar(self) -> None:
        if self._bar is None:
            self._bar = self._new_bar()
        self._bar.n = self._completed
        width = shutil.get_terminal_size().columns - 30  # the rest of the line needs 30 columns
        text = _shorten(f"{self._position()}{self._name}, {self._description}", width)
        self._bar.set_description_str(text, refresh=True)

    def _new_bar(self) -> tqdm[Never]:
        bar: tqdm[Never] = tqdm(
            total=self._num_drawings * self._num_steps, leave=False, file=sys.stderr, dynamic_ncols=True,
            bar_format="{desc}: {percentage:3.0f}% |{bar}| {elapsed}",
        )  # fmt: skip
        bar.start_t -= time.monotonic() - self._started
        return bar

    def _position(self) -> str:
        return f"{self._drawing} of {self._num_drawings}, " if self._num_drawings > 1 else ""

    def _log_line(self) -> str:
        minutes = round((time.monotonic() - self._started) / 60)
        elapsed = f"after {minutes} minute{'s' * (minutes != 1)}"
        step = f"step {self._step} of {self._num_steps}"
        return f"{self._position()}{self._name}: {self._description}, {step}, {elapsed}"


def print_above_bar(text: str) -> None:
    """Prints a line on stderr, above the bar if there is one."""
    tqdm.write(text, file=sys.stderr)


def _shorten(text: str, length: int = MAX_NAME) -> str:
    """Replaces the middle of `text` by … if it is longer than `length`."""
    if len(text) <= length:
        return text
    head = max(length - 1, 2) // 2
    return f"{text[:head]}…{text[head + 1 - max(length, 3) :]}"
