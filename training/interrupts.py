"""Ctrl-C between two steps, where the state is whole and can be saved."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any


class Interrupted(Exception):  # noqa: N818 - no error: somebody asked for it
    """The run was asked to end, and stands between two steps."""


class Interrupts:
    """While entered, the first Ctrl-C only leaves a note for `check`; the second ends the process at once."""

    def __init__(self) -> None:
        self._asked = False
        self._before: Any = None

    def __enter__(self) -> Interrupts:
        # Python lets the main thread alone handle signals.
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def check(self) -> None:
        """Raises `Interrupted` once Ctrl-C was pressed."""
        if self._asked:
            raise Interrupted

    def _note(self, _: int, frame: FrameType | None) -> None:
        self._asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        print("interrupted: saving after this step; Ctrl-C again ends at once", file=sys.stderr, flush=True)
