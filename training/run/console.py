"""What a run says on the terminal at its start and at its end."""

from __future__ import annotations

from pathlib import Path

import keras

from training.config import TrainConfig
from training.data.dataset import ShardedDataset
from training.loop import checkpoint
from training.loop.checkpoint_file import Progress
from training.metrics.baselines import Baselines
from training.metrics.scores import Scores
from training.run.artifacts import RunArtifacts
from training.run.history import is_stuck
from training.run.run_info import continuing


def opening(
    config: TrainConfig, dataset: ShardedDataset, net: keras.Model, baselines: Baselines, run_dir: Path
) -> str:
    """The dataset, the network, and what must be beaten."""
    train, val = dataset.examples("train"), dataset.examples("val")
    lines = [
        f"dataset    {dataset.root}: {train:,} training and {val:,} validation examples, "
        f"{dataset.manifest.image_size} px, {len(dataset.manifest.palette)} colours",
        f"model      {config.model.name}: {net.count_params():,} parameters, {config.trainer.precision}",
        f"baselines  always the commonest colour: accuracy {baselines.accuracy:.3f}; "
        f"the palette's shares alone: loss {baselines.loss:.3f} nats",
        f"plan       {_plan(config, train)}",
        f"run        {run_dir}",
    ]
    if not val:
        lines.insert(1, "           no validation split: the training scores decide which epoch is best")
    return "\n".join(lines)


def starting(config: TrainConfig) -> str:
    """What happens before the first step is done, which may take long."""
    how_long = "minutes" if config.trainer.jit_compile else "seconds; minutes for a large network"
    return f"start      compiling the first step takes {how_long}"


def epoch_of(number: int, config: TrainConfig) -> str:
    """`epoch 2 of 5`, or `epoch 2` where minutes alone end the run."""
    return f"epoch {number}" + (f" of {config.trainer.epochs}" if config.trainer.epochs else "")


def closing(
    journal: RunArtifacts,
    config: TrainConfig,
    dataset: ShardedDataset,
    progress: Progress,
    interrupted: int,
) -> str:
    """What ended the run, whether the baselines were beaten, by how much, and where to look.

    `interrupted` is the number of the signal that ended it, 0 if none did.
    """
    best, run = journal.best, journal.run_dir
    stopped = (
        f"interrupted after step {progress.step:,}{_of_steps(config, dataset)}, in "
        f"{epoch_of(progress.epoch, config)}: go on with {continuing(run)}"
    )
    if best is None:
        return stopped
    split = {"val": "validation", "train": "training"}[dataset.selection_split]
    lines = [
        f"best       epoch {best.number}, by {split} loss",
        *(f"           {line}" for line in compare(best.judged_by, journal.baselines)),
        f"look at    {run / 'panel.png'} and {run / 'curves.png'}",
        f"network    {run / 'checkpoints' / checkpoint.BEST}",
    ]
    return "\n".join([*lines, stopped] if interrupted else [_ending(journal, config, dataset), *lines])


def complete(journal: RunArtifacts, config: TrainConfig) -> str:
    """Of a run that was over before: that there is nothing to do, and how there would be."""
    trainer, done = config.trainer, len(journal.epochs)
    spent = "epochs" if trainer.epochs is not None and done >= trainer.epochs else "max_minutes"
    why = "nothing to do"
    if is_stuck(journal.epochs, trainer.patience):
        spent, why = "patience", _stuck(config)
    more = f"more with {continuing(journal.run_dir)} trainer.{spent}=MORE"
    return f"complete   {journal.run_dir} ended with epoch {done}: {why}; {more}"


def _plan(config: TrainConfig, train: int) -> str:
    trainer, steps = config.trainer, config.steps_per_epoch(train)
    epochs = f"{trainer.epochs:,} x " if trainer.epochs else "epochs of "
    ends = [f"{trainer.max_minutes:g} minutes"] if trainer.max_minutes else []
    ends += [f"{trainer.patience} epochs without a better one"] if trainer.patience else []
    what = f"{epochs}{steps:,} steps of {trainer.batch_size} images"
    return f"{what}; ends after {' or '.join(ends)}" if ends else what


def _of_steps(config: TrainConfig, dataset: ShardedDataset) -> str:
    steps = config.steps_per_epoch(dataset.examples("train"))
    return f" of {steps * config.trainer.epochs:,}" if config.trainer.epochs else ""


def _ending(journal: RunArtifacts, config: TrainConfig, dataset: ShardedDataset) -> str:
    """What was done of what was planned, and why it ended."""
    last, trainer = journal.epochs[-1], config.trainer
    if is_stuck(journal.epochs, trainer.patience):
        return f"stopped    {_stuck(config)}, after {epoch_of(last.number, config)}"
    steps = config.steps_per_epoch(dataset.examples("train"))
    if trainer.epochs and last.step >= steps * trainer.epochs:
        return f"ended      after {epoch_of(last.number, config)}: trainer.epochs={trainer.epochs} are done"
    step = f"step {last.step:,}{_of_steps(config, dataset)}"
    why = f"trainer.max_minutes={trainer.max_minutes:g} are over"
    return f"ended      in {epoch_of(last.number, config)}, after {step}: {why}"


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
