"""Ctrl-C, SIGTERM and SIGHUP between two steps, where the state is whole and can be saved."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

from training.cli import signal_exception

# Ctrl-C; what `kill` and schedulers send before they end a process; a terminal that is closed.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):  # noqa: N818 - no error: somebody asked for it
    """The run was asked to end by `signum`, and stands between two steps."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class StopSignals:
    """While entered, the first signal only leaves a note for `check`; the second ends the process at once.

    A signal that is ignored stays ignored: nohup ignores SIGHUP, and shells SIGINT in background jobs.
    """

    def __init__(self) -> None:
        self._asked: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        # Python lets the main thread alone handle signals.
        if threading.current_thread() is threading.main_thread():
            before = {number: signal.getsignal(number) for number in SIGNALS}
            self._before = {
                number: was for number, was in before.items() if was not in (signal.SIG_IGN, None)
            }
            self._handle(self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, was in self._before.items():
            signal.signal(number, was)

    def check(self) -> None:
        """Raises `Interrupted` once a signal came."""
        if self._asked is not None:
            raise Interrupted(self._asked)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._asked = number
        self._handle(_end_at_once)
        with suppress(OSError):  # the terminal is gone
            print(
                "interrupted: saving after this step; Ctrl-C again ends at once", file=sys.stderr, flush=True
            )

    def _handle(self, handler: Any) -> None:
        for number in self._before:
            signal.signal(number, handler)


def _end_at_once(number: int, frame: FrameType | None) -> None:
    raise signal_exception(number)
