"""Writes the checkpoints of a run, step-*.npz in its checkpoints/ directory, and resumes from the newest."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from training.config import TrainerConfig
from training.errors import UsageError, WorkError
from training.loop.checkpoint_file import (
    DamagedCheckpointError,
    Progress,
    SavedVariable,
    read_checkpoint,
    write_checkpoint,
)
from training.loop.schedule import Budget
from training.loop.step import CompiledModel

CHECKPOINTS = "step-*.npz"
OLD_CHECKPOINTS = "*.state"


def refuse_old_checkpoints(directory: Path) -> None:
    """Refuses checkpoints in the format of earlier versions of linewash, whose names end with .state.

    Raises:
      UsageError: `directory` holds such checkpoints. Nothing is deleted.
    """
    if old := sorted(directory.glob(OLD_CHECKPOINTS)):
        raise UsageError(
            f"{old[-1]} was written by an earlier version of linewash, but this version resumes from "
            f"{CHECKPOINTS} only: type hydra.run.dir=ANOTHER to train anew, or continue with the version "
            "that run.json names"
        )


def load_newest_checkpoint(directory: Path, model: CompiledModel) -> tuple[Progress, str]:
    """Sets the variables of `model` to those of the newest checkpoint that is undamaged.

    Returns:
      Its progress, or that of a new run if there is no such checkpoint; and a line to print, which names
      the checkpoint and the damaged ones. The line is empty if `directory` has no checkpoints.

    Raises:
      WorkError: the checkpoint is that of a network or an optimizer with other variables.
    """
    damaged: list[str] = []
    for path in sorted(directory.glob(CHECKPOINTS), reverse=True):
        try:
            progress, variables = read_checkpoint(path)
        except DamagedCheckpointError:
            damaged.append(path.name)
            continue
        _assign(model, variables, path)
        position = f"from step {progress.step:,} in epoch {progress.epoch} ({path.name})"
        return progress, f"resumed    {position}{_list_damaged(damaged)}"
    return Progress(), f"resumed    at the beginning{_list_damaged(damaged)}" if damaged else ""


@dataclass
class CheckpointWriter:
    """Writes checkpoints as often as `config` asks for, and keeps the newest `config.keep` of them.

    Nothing is written unless `writes`: one of the processes that share a run writes.
    """

    directory: Path
    config: TrainerConfig
    model: CompiledModel
    progress: Progress
    budget: Budget
    writes: bool
    _written_at: float = field(init=False, default_factory=time.monotonic)

    def is_due(self) -> bool:
        """Whether a checkpoint is due within an epoch, after the step that was just done."""
        steps, minutes = self.config.checkpoint_steps, self.config.checkpoint_minutes
        return self.writes and (
            (steps is not None and self.progress.step % steps == 0)
            or (minutes is not None and time.monotonic() - self._written_at >= 60 * minutes)
        )

    def write(self) -> None:
        """Writes a checkpoint, then deletes the oldest ones, and those of later steps, which are damaged.

        At the end of an epoch, the checkpoint with its scores replaces the one without: the step is the same.
        """
        if not self.writes:
            return
        self.progress.training_seconds, self.progress.compile_seconds = self.budget.seconds()
        path = self.directory / f"step-{self.progress.step:08d}.npz"  # names sort by step
        variables = [SavedVariable(variable.path, variable.numpy()) for variable in self.model.variables]
        write_checkpoint(path, self.progress, variables)
        paths = sorted(self.directory.glob(CHECKPOINTS))
        current = paths.index(path)
        for other in paths[: max(0, current + 1 - self.config.keep)] + paths[current + 1 :]:
            other.unlink()
        self._written_at = time.monotonic()


def _assign(model: CompiledModel, saved: list[SavedVariable], path: Path) -> None:
    shapes = [tuple(variable.shape) for variable in model.variables]
    if [variable.value.shape for variable in saved] != shapes:
        # The settings are those of run.json, so only the code can have changed.
        raise WorkError(
            f"{path} was written by another version of linewash or Keras, whose network or optimizer has "
            "other variables: continue with the versions that run.json names, or type hydra.run.dir=ANOTHER"
        )
    for variable, new in zip(model.variables, saved, strict=True):
        variable.assign(new.value)


def _list_damaged(names: list[str]) -> str:
    return f"; damaged, so not used: {', '.join(names)}" if names else ""
