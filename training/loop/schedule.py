"""The learning rate as a function of how much of the run is done.

Keras's schedules count steps. Ours takes a share from 0 to 1 instead, since a run may be given minutes
rather than epochs, and then nobody knows beforehand how many steps it will be.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from training.config import OptimizerConfig


def learning_rate(progress: float, config: OptimizerConfig) -> float:
    """Linear warm-up, then half a cosine down to `final_rate` (Loshchilov & Hutter 2017), or constant.

    Args:
      progress: the share of the run that is done, 0 to 1.
    """
    if progress < config.warmup:
        # Never quite 0, so that the very first step does something.
        return config.learning_rate * max(progress / config.warmup, 0.01)
    if config.schedule == "constant":
        return config.learning_rate
    share = (progress - config.warmup) / (1 - config.warmup)
    cosine = (1 + math.cos(math.pi * share)) / 2
    return config.learning_rate * (config.final_rate + (1 - config.final_rate) * cosine)


@dataclass
class Budget:
    """How long a run may go on: so many steps, so many minutes of wall-clock, or whichever ends first.

    With steps alone, `progress` depends on the step and nothing else, and so does the whole run. With
    minutes it depends on the machine; that is what was asked for. Such a run can be resumed, and its
    minutes count the time of all its processes, but it is not the same to the bit.

    `trained` and `compiling` are the seconds of earlier processes, as `spent` gave them, and `first_step` is
    the step where this one begins.
    """

    steps: int | None
    minutes: float | None
    clock: Callable[[], float] = time.monotonic
    trained: float = 0.0
    compiling: float = 0.0
    first_step: int = 0
    _started: float = field(init=False)
    _first_step_done: float | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._started = self.clock()

    def spent(self) -> tuple[float, float]:
        """Seconds of all processes so far: of training, and until each had done its first step."""
        now = self.clock() - self._started
        if self._first_step_done is None:
            return self.trained, self.compiling
        return self.trained + now - self._first_step_done, self.compiling + self._first_step_done

    def progress(self, step: int) -> float:
        """The share of the run done before `step` (counted from 0), 0 to 1."""
        shares = [0.0]
        if self.steps is not None:
            shares.append(step / self.steps)
        if self.minutes is not None:
            shares.append(self._time_share(step))
        return min(max(shares), 1.0)

    def is_spent(self, step: int) -> bool:
        """Whether the run ends before `step`."""
        return self.progress(step) >= 1.0

    def _time_share(self, step: int) -> float:
        """Time counts from the end of a process's first step: compiling would otherwise eat the warm-up."""
        if self._first_step_done is None and step > self.first_step:
            self._first_step_done = self.clock() - self._started
        assert self.minutes is not None
        trained, compiling = self.spent()
        rest = self.minutes * 60 - compiling
        return trained / rest if rest > 0 else 1.0
