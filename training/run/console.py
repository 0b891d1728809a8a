"""The messages that a run prints at its start and at its end."""

from __future__ import annotations

from pathlib import Path

import keras

from training.config import TrainConfig
from training.data.dataset import ShardedDataset
from training.metrics.baselines import Baselines
from training.metrics.scores import Scores
from training.run.artifacts import RunArtifacts
from training.run.history import is_stuck
from training.run.run_info import network_path, resume_command


def start_message(
    config: TrainConfig, dataset: ShardedDataset, net: keras.Model, baselines: Baselines, run_dir: Path
) -> str:
    """Returns the lines on the dataset, the network, the baselines and the planned steps."""
    train, val = dataset.examples("train"), dataset.examples("val")
    lines = [
        f"dataset    {dataset.root}: {train:,} training and {val:,} validation examples, "
        f"{dataset.manifest.image_size} px, {len(dataset.manifest.palette)} colours",
        f"model      {config.model.name}: {net.count_params():,} parameters, {config.trainer.precision}",
        f"baselines  commonest colour everywhere: accuracy {baselines.accuracy:.3f}",
        f"           colour frequencies alone: loss {baselines.loss:.3f} nats",
        f"plan       {_plan(config, train)}",
        f"run        {run_dir}",
    ]
    if not val:
        lines.insert(1, "           no validation split: the training loss decides which epoch is best")
    return "\n".join(lines)


def compile_message(config: TrainConfig) -> str:
    """Returns the line that is printed before the first step, which may take long to compile."""
    duration = "minutes" if config.trainer.jit_compile else "seconds; minutes for a large network"
    return f"start      compiling the first step takes {duration}"


def epoch_title(number: int, config: TrainConfig) -> str:
    """Returns `epoch 2 of 5`, or `epoch 2` if the run is limited by time alone."""
    return f"epoch {number}" + (f" of {config.trainer.epochs}" if config.trainer.epochs else "")


def end_message(
    artifacts: RunArtifacts, config: TrainConfig, dataset: ShardedDataset, step: int, signum: int
) -> str:
    """Returns the lines on why the run ended, its best epoch, and the files to look at.

    Args:
      artifacts: the run and its history.
      step: number of steps that were done.
      signum: number of the signal that interrupted the run; 0 if it ended by itself.
    """
    best, run_dir = artifacts.best, artifacts.run_dir
    interrupted = (
        f"interrupted after step {step:,}{_of_total_steps(config, dataset)}, in "
        f"{epoch_title(len(artifacts.history) + 1, config)}: continue with {resume_command(run_dir)}"
    )
    if best is None:
        return interrupted
    split = {"val": "validation", "train": "training"}[dataset.selection_split]
    lines = [
        f"best       epoch {best.number}, by {split} loss",
        *(f"           {line}" for line in compare_to_baselines(best.selection_scores, artifacts.baselines)),
        f"written    {run_dir / 'panel.png'} and {run_dir / 'curves.png'}",
        f"network    {network_path(run_dir, 'best')}",
    ]
    return "\n".join([*lines, interrupted] if signum else [_end_reason(artifacts, config, dataset), *lines])


def already_complete_message(artifacts: RunArtifacts, config: TrainConfig) -> str:
    """Returns the line for a run that had ended before it was resumed, with the setting that prolongs it."""
    trainer, num_epochs = config.trainer, len(artifacts.history)
    limit = "epochs" if trainer.epochs is not None and num_epochs >= trainer.epochs else "max_minutes"
    reason = "nothing to do"
    if is_stuck(artifacts.history, trainer.patience):
        limit, reason = "patience", _stuck(config)
    command = f"{resume_command(artifacts.run_dir)} trainer.{limit}=MORE"
    return (
        f"complete   {artifacts.run_dir} ended with epoch {num_epochs}: {reason}; train longer with {command}"
    )


def compare_to_baselines(scores: Scores, baselines: Baselines) -> tuple[str, str]:
    """Returns one line for accuracy and one for loss, each with its difference from the baseline."""
    accuracy_gain, loss_gain = scores.accuracy - baselines.accuracy, baselines.loss - scores.loss
    accuracy_result = f"beaten by {accuracy_gain:.3f}" if accuracy_gain > 0 else "NOT beaten"
    loss_result = f"beaten by {loss_gain:.3f}" if loss_gain > 0 else "NOT beaten"
    return (
        f"accuracy {scores.accuracy:.3f}; baseline {baselines.accuracy:.3f} {accuracy_result}",
        f"loss {scores.loss:.3f} nats; baseline {baselines.loss:.3f} {loss_result}",
    )


def _plan(config: TrainConfig, num_train: int) -> str:
    trainer, steps = config.trainer, config.steps_per_epoch(num_train)
    epochs = f"{trainer.epochs:,} x " if trainer.epochs else "epochs of "
    limits = [f"{trainer.max_minutes:g} minutes"] if trainer.max_minutes else []
    limits += [f"{trainer.patience} epochs without improvement"] if trainer.patience else []
    plan = f"{epochs}{steps:,} steps of {trainer.batch_size} images"
    return f"{plan}; ends after {' or '.join(limits)}" if limits else plan


def _of_total_steps(config: TrainConfig, dataset: ShardedDataset) -> str:
    steps = config.steps_per_epoch(dataset.examples("train"))
    return f" of {steps * config.trainer.epochs:,}" if config.trainer.epochs else ""


def _end_reason(artifacts: RunArtifacts, config: TrainConfig, dataset: ShardedDataset) -> str:
    last, trainer = artifacts.history[-1], config.trainer
    title = epoch_title(last.number, config)
    if is_stuck(artifacts.history, trainer.patience):
        return f"ended      after {title}: {_stuck(config)}"
    steps = config.steps_per_epoch(dataset.examples("train"))
    if trainer.epochs and last.step >= steps * trainer.epochs:
        return f"ended      after {title}: trainer.epochs={trainer.epochs} is reached"
    step = f"step {last.step:,}{_of_total_steps(config, dataset)}"
    return f"ended      in {title}, after {step}: trainer.max_minutes={trainer.max_minutes:g} is reached"


def _stuck(config: TrainConfig) -> str:
    return f"no improvement in trainer.patience={config.trainer.patience} epochs"
