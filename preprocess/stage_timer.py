"""Measures how long each stage of the conversion takes, for each image."""

from __future__ import annotations

import time

# In this order for each image. "decode" includes the resize; "write" includes the encoding of the record.
STAGES = ("read", "decode", "labels", "lines", "write")


class StageTimer:
    """A stopwatch that assigns the time since the last call to a stage.

    Attributes:
      nanoseconds: of each image, by stage. A rejected image has no time in the stage that rejected it and in
        the later ones.
    """

    def __init__(self) -> None:
        self.nanoseconds: dict[str, list[int]] = {stage: [] for stage in STAGES}
        self.restart()

    def restart(self) -> None:
        """Begins the next stage without assigning the time since the last call."""
        self._start = time.perf_counter_ns()

    def end(self, stage: str) -> None:
        """Assigns the time since the last call to `stage`, and begins the next one."""
        now = time.perf_counter_ns()
        self.nanoseconds[stage].append(now - self._start)
        self._start = now
