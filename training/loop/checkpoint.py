"""What lies in a run's checkpoints/: the last states, to go on from, and the networks, to use."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from training.config import TrainerConfig
from training.errors import WorkError
from training.loop.checkpoint_file import Array, DamagedCheckpointError, Progress, read_state, write_state
from training.loop.schedule import Budget
from training.loop.step import Learner

STATES = "*.state"


def load_progress(directory: Path, learner: Learner) -> tuple[Progress, str]:
    """Goes back to the newest state that is whole: sets the learner's variables.

    Returns:
      The progress (that of a new run when there is no such state), and one line to be printed: which state
      that was and which ones were damaged; empty when there never was one.

    Raises:
      WorkError: the state is that of a network or an optimizer with other variables.
    """
    damaged = []
    for path in sorted(directory.glob(STATES), reverse=True):
        try:
            progress, arrays = read_state(path)
        except DamagedCheckpointError:
            damaged.append(path.name)
            continue
        _assign(learner, arrays, path)
        where = f"from step {progress.step:,} in epoch {progress.epoch} ({path.name})"
        return progress, f"resumed    {where}{_complaint(damaged)}"
    return Progress(), f"resumed    at the beginning{_complaint(damaged)}" if damaged else ""


@dataclass
class CheckpointWriter:
    """Saves the state of a run as often as `config` says, if it `writes` at all; keeps the newest ones."""

    directory: Path
    config: TrainerConfig
    learner: Learner
    progress: Progress
    budget: Budget
    writes: bool
    _saved_at: float = field(init=False, default_factory=time.monotonic)

    def is_due(self) -> bool:
        """Whether the state is to be saved in mid-epoch, after the step just done."""
        steps, minutes = self.config.checkpoint_steps, self.config.checkpoint_minutes
        return self.writes and (
            (steps is not None and self.progress.step % steps == 0)
            or (minutes is not None and time.monotonic() - self._saved_at >= 60 * minutes)
        )

    def save(self) -> None:
        """Writes the state, then removes the oldest ones, and damaged ones that claim to be newer."""
        if not self.writes:
            return
        self.progress.trained, self.progress.compiling = self.budget.spent()
        # Names sort as the states came.
        path = self.directory / f"{self.progress.epoch:05d}-{self.progress.in_epoch:08d}.state"
        write_state(path, self.progress, _arrays(self.learner))
        states = sorted(self.directory.glob(STATES))
        current = states.index(path)
        for other in states[: max(0, current + 1 - self.config.keep)] + states[current + 1 :]:
            other.unlink()
        self._saved_at = time.monotonic()


def _arrays(learner: Learner) -> list[Array]:
    return [Array(v.path, v.numpy()) for v in learner.variables]


def _assign(learner: Learner, arrays: list[Array], path: Path) -> None:
    variables = learner.variables
    if [array.value.shape for array in arrays] != [tuple(variable.shape) for variable in variables]:
        # The settings are those of run.json, so that only the code can have changed.
        raise WorkError(
            f"{path} was written by another version of linewash or Keras, whose network or optimizer has "
            "other variables: go on with the versions that run.json names, or type hydra.run.dir=ANOTHER"
        )
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array.value)


def _complaint(damaged: list[str]) -> str:
    return f"; damaged, so not used: {', '.join(damaged)}" if damaged else ""
