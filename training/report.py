"""What a run says on the terminal at its start and at its end."""

from __future__ import annotations

from pathlib import Path

import keras

import tfrecords_schema as schema
from training import checkpoint
from training.baselines import Baselines
from training.config import TrainConfig
from training.dataset import examples, judged_split
from training.history import is_stuck
from training.journal import Journal
from training.metrics import Scores
from training.state import Progress


def opening(
    config: TrainConfig, manifest: schema.Manifest, net: keras.Model, baselines: Baselines, run_dir: Path
) -> str:
    """The dataset, the network, and what must be beaten."""
    train, val = examples(manifest, "train"), examples(manifest, "val")
    lines = [
        f"dataset    {config.data.root}: {train:,} training and {val:,} validation examples, "
        f"{manifest.image_size} px, {len(manifest.palette)} colours",
        f"model      {config.model.name}: {net.count_params():,} parameters, {config.trainer.precision}",
        f"baselines  always the commonest colour: accuracy {baselines.accuracy:.3f}; "
        f"the palette's shares alone: loss {baselines.loss:.3f} nats",
        f"run        {run_dir}",
    ]
    if not val:
        lines.insert(1, "           no validation split: the training scores decide which epoch is best")
    return "\n".join(lines)


def closing(
    journal: Journal, config: TrainConfig, manifest: schema.Manifest, progress: Progress, interrupted: bool
) -> str:
    """Whether the baselines were beaten, by how much, and where to look."""
    best, run = journal.best, journal.run_dir
    stopped = f"interrupted after step {progress.step:,}: go on with python -m training run={run}"
    if best is None:
        return stopped
    split = {"val": "validation", "train": "training"}[judged_split(manifest)]
    lines = [
        f"best       epoch {best.number}, by {split} loss",
        *(f"           {line}" for line in compare(best.judged_by, journal.baselines)),
        f"look at    {run / 'panel.png'} and {run / 'curves.png'}",
        f"network    {run / 'checkpoints' / checkpoint.BEST}",
    ]
    if is_stuck(journal.epochs, config.trainer.patience):
        lines.insert(0, f"stopped    {_stuck(config)}")
    if interrupted:
        lines.append(stopped)
    return "\n".join(lines)


def complete(journal: Journal, config: TrainConfig) -> str:
    """Of a run that was over before: that there is nothing to do, and how there would be."""
    trainer, done = config.trainer, len(journal.epochs)
    spent = "epochs" if trainer.epochs is not None and done >= trainer.epochs else "max_minutes"
    why = "nothing to do"
    if is_stuck(journal.epochs, trainer.patience):
        spent, why = "patience", _stuck(config)
    more = f"more with python -m training run={journal.run_dir} trainer.{spent}=MORE"
    return f"complete   {journal.run_dir} ended with epoch {done}: {why}; {more}"


def _stuck(config: TrainConfig) -> str:
    return f"no better epoch in trainer.patience={config.trainer.patience}"


def compare(scores: Scores, baselines: Baselines) -> tuple[str, str]:
    """One line for accuracy and one for loss: what was reached, and whether and by how much it is better."""
    gain, saved = scores.accuracy - baselines.accuracy, baselines.loss - scores.loss
    accuracy = "above the commonest colour" if gain > 0 else "below the commonest colour: NOT beaten"
    loss = "below the palette's shares" if saved > 0 else "above the palette's shares: NOT beaten"
    return (
        f"accuracy {scores.accuracy:.3f}, {abs(gain):.3f} {accuracy} ({baselines.accuracy:.3f})",
        f"loss {scores.loss:.3f} nats, {abs(saved):.3f} {loss} ({baselines.loss:.3f})",
    )
