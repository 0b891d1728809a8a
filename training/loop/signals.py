"""Ctrl-C, SIGTERM and SIGHUP end a run between two steps, where a checkpoint can be written."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

from training.cli import signal_exception

# Ctrl-C; the signal that `kill` and schedulers send before they kill a process; a closed terminal.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):  # noqa: N818 - it is a request, not an error
    """The signal `signum` asks the run to end. It is raised between two steps."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


class StopSignals:
    """A context in which the first signal is deferred to `raise_if_stopped` and the second one ends at once.

    A signal that is ignored stays ignored: nohup ignores SIGHUP, and shells ignore SIGINT in background jobs.
    """

    def __init__(self) -> None:
        self._signum: int | None = None
        self._previous_handlers: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        # Only the main thread can set signal handlers in Python.
        if threading.current_thread() is threading.main_thread():
            handlers = {number: signal.getsignal(number) for number in SIGNALS}
            self._previous_handlers = {
                number: handler
                for number, handler in handlers.items()
                if handler not in (signal.SIG_IGN, None)
            }
            self._set_handlers(self._defer)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)

    def raise_if_stopped(self) -> None:
        """Raises `Interrupted` if a signal has arrived."""
        if self._signum is not None:
            raise Interrupted(self._signum)

    def _defer(self, number: int, frame: FrameType | None) -> None:
        self._signum = number
        self._set_handlers(_end_at_once)
        with suppress(OSError):  # the terminal may be closed
            print(
                "interrupted: saving after this step; Ctrl-C again ends at once", file=sys.stderr, flush=True
            )

    def _set_handlers(self, handler: Any) -> None:
        for number in self._previous_handlers:
            signal.signal(number, handler)


def _end_at_once(number: int, frame: FrameType | None) -> None:
    raise signal_exception(number)
