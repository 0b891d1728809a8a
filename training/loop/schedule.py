"""The budget of a run, and its learning rate as a function of the fraction of the budget that is used.

Keras's schedules count steps. A run may be limited in minutes instead of epochs, and then its number of steps
is not known beforehand, so the schedule here takes a fraction from 0 to 1.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from training.config import OptimizerConfig


def learning_rate(fraction: float, config: OptimizerConfig) -> float:
    """Returns the learning rate after the given fraction of the run, 0 to 1.

    It rises linearly during `config.warmup`, then stays constant or falls along half a cosine to
    `config.final_rate` times its peak (Loshchilov & Hutter 2017).
    """
    if fraction < config.warmup:
        # At least 1 % of the peak, so that the first step changes something.
        return config.learning_rate * max(fraction / config.warmup, 0.01)
    if config.schedule == "constant":
        return config.learning_rate
    after_warmup = (fraction - config.warmup) / (1 - config.warmup)
    cosine = (1 + math.cos(math.pi * after_warmup)) / 2
    return config.learning_rate * (config.final_rate + (1 - config.final_rate) * cosine)


@dataclass
class Budget:
    """The length of a run: a number of steps, minutes of wall-clock time, or whichever ends first.

    With steps alone, `fraction_used` is a function of the step, and so the whole run is deterministic. With
    minutes it depends on the machine. Such a run can be resumed, and its minutes include the time of all its
    processes, but two such runs differ.

    `training_seconds` and `compile_seconds` are those of earlier processes, as `seconds` returned them.
    `first_step` is the step with which this process begins.
    """

    steps: int | None
    minutes: float | None
    clock: Callable[[], float] = time.monotonic
    training_seconds: float = 0.0
    compile_seconds: float = 0.0
    first_step: int = 0
    _started: float = field(init=False)
    _seconds_to_first_step: float | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._started = self.clock()

    def seconds(self) -> tuple[float, float]:
        """Returns the seconds of training, and those before the first step, of all processes so far."""
        elapsed = self.clock() - self._started
        if self._seconds_to_first_step is None:
            return self.training_seconds, self.compile_seconds
        return (
            self.training_seconds + elapsed - self._seconds_to_first_step,
            self.compile_seconds + self._seconds_to_first_step,
        )

    def fraction_used(self, step: int) -> float:
        """Returns the fraction of the budget, 0 to 1, that is used before `step` (counted from 0)."""
        fractions = [0.0]
        if self.steps is not None:
            fractions.append(step / self.steps)
        if self.minutes is not None:
            fractions.append(self._fraction_of_minutes(step))
        return min(max(fractions), 1.0)

    def is_spent(self, step: int) -> bool:
        """Whether the run ends before `step`."""
        return self.fraction_used(step) >= 1.0

    def _fraction_of_minutes(self, step: int) -> float:
        # The schedule starts at the end of the first step: compiling it would otherwise use up the warm-up.
        if self._seconds_to_first_step is None and step > self.first_step:
            self._seconds_to_first_step = self.clock() - self._started
        assert self.minutes is not None
        training, compiling = self.seconds()
        available = self.minutes * 60 - compiling
        return training / available if available > 0 else 1.0
