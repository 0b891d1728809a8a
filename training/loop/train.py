"""Trains one network: from the dataset and the config to the last checkpoint of the run."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfrecords_schema import Palette
from training.atomic_files import remove_unfinished
from training.cli import explain_out_of_memory
from training.config import TrainConfig
from training.data.dataset import ShardedDataset, read_batches
from training.errors import UsageError, WorkError
from training.loop.checkpoint import (
    CHECKPOINTS,
    CheckpointWriter,
    load_newest_checkpoint,
    refuse_old_checkpoints,
)
from training.loop.checkpoint_file import Progress
from training.loop.distribution import Replicas, prefetch_to_gpu
from training.loop.lock import lock_run_directory
from training.loop.schedule import Budget, learning_rate
from training.loop.signals import Interrupted, StopSignals
from training.loop.step import CompiledModel
from training.metrics.baselines import Baselines
from training.metrics.scores import Scores, Tally, sum_tallies
from training.models import build_model
from training.run import console, run_info
from training.run.artifacts import HISTORY, RunArtifacts
from training.run.history import Epoch, is_stuck
from training.run.progress import ProgressBar
from training.run.run_info import RunStart

# Reading the loss makes the host wait for the device, so it is read every 25 steps or 5 seconds only.
STEPS_BETWEEN_LOSSES = 25
SECONDS_BETWEEN_LOSSES = 5.0


@dataclass(frozen=True)
class Summary:
    """The result of a run.

    Attributes:
      history: all epochs of the run, those of earlier processes included.
      best: the epoch with the lowest validation loss (training loss if there is no validation split).
      net: the network that was evaluated last, which is the moving average if `trainer.ema` is set.
      interrupted: the number of the signal that ended the run early, otherwise 0.
    """

    run_dir: Path
    baselines: Baselines
    history: list[Epoch]
    best: Epoch | None
    net: keras.Model
    interrupted: int


@dataclass(frozen=True)
class TrainingSession:
    """The objects that the training loop works with. `progress` is updated by every step."""

    config: TrainConfig
    dataset: ShardedDataset
    model: CompiledModel
    progress: Progress
    budget: Budget
    checkpoint_writer: CheckpointWriter
    replicas: Replicas
    signals: StopSignals

    @property
    def is_over(self) -> bool:
        """Whether the run has ended. An epoch that has begun is always scored first."""
        return self.progress.steps_in_epoch == 0 and (
            self.budget.is_spent(self.progress.step)
            or is_stuck(self.progress.history, self.config.trainer.patience)
        )

    @property
    def steps_per_epoch(self) -> int:
        """The number of steps in a whole epoch."""
        return self.config.steps_per_epoch(self.dataset.examples("train"))


# Sets the weights of a new network whose colours are the palette, and returns what it did.
LoadWeights = Callable[[keras.Model, Palette], RunStart]


def train(
    config: TrainConfig, dataset: ShardedDataset, run_dir: Path, load_weights: LoadWeights | None = None
) -> Summary:
    """Trains the network that `config` describes, and writes all its files to `run_dir`.

    A run in `run_dir` with the same config is resumed at the step of its newest checkpoint. On a CPU it ends
    with the same weights, bit for bit, as an uninterrupted run, unless `trainer.max_minutes` limits it.
    Ctrl-C, SIGTERM and SIGHUP end the run early, after a checkpoint is written.

    A new run begins with the weights that `load_weights` sets, or with random ones.

    If several processes share the run, one of them (the chief) writes and prints.

    Raises:
      UsageError: the config does not fit the dataset, or the directory holds another run.
      WorkError: a shard is damaged, the loss is not finite, another process trains in this directory, or one
        of the processes that share the run has ended.
    """
    config.check_fits(dataset.manifest)
    replicas = Replicas.create(config.trainer.strategy)
    replicas.check_batch_size(config.trainer.batch_size)
    with (
        lock_run_directory(run_dir) if replicas.is_chief else nullcontext(),
        StopSignals() as signals,
        explain_out_of_memory(_memory_advice(config)),
    ):
        _check_directory(run_dir, config, dataset)
        if replicas.is_chief:
            remove_unfinished(run_dir)
        session, start, resumed = _start_session(config, dataset, run_dir, replicas, signals, load_weights)
        artifacts = _start_artifacts(session, run_dir)

        if session.is_over:
            artifacts.sync_with_checkpoint(session.model.eval_net, epoch_just_ended=True)
            replicas.print_once(console.already_complete_message(artifacts, config))
            return _summarize(session, artifacts)

        if replicas.is_chief:
            run_info.write_run(run_dir, config, dataset, session.model.net, start)
        replicas.print_once(
            console.start_message(config, dataset, session.model.net, artifacts.baselines, run_dir)
        )
        if start:
            replicas.print_once(f"began      from {start.file}: {start.note}")
        if resumed:
            replicas.print_once(resumed)
        artifacts.sync_with_checkpoint(
            session.model.eval_net, epoch_just_ended=session.progress.steps_in_epoch == 0
        )
        replicas.print_once(console.compile_message(config))

        interrupted = _train_until_end_or_signal(session, artifacts)

        with suppress(OSError) if interrupted else nullcontext():  # after SIGHUP the terminal is closed
            replicas.print_once(
                console.end_message(artifacts, config, dataset, session.progress.step, interrupted)
            )
        return _summarize(session, artifacts, interrupted)


def evaluate(
    model: CompiledModel,
    dataset: ShardedDataset,
    split: str,
    batch_size: int,
    before_batch: Callable[[], None] = lambda: None,
    after_batch: Callable[[int], None] = lambda images: None,
) -> Scores:
    """Returns the scores over every example of a split that is not empty.

    Args:
      before_batch: called before each batch; it may raise an exception to stop.
      after_batch: called after each batch with its number of images.
    """

    def tallies() -> Iterator[Tally]:
        for batch in read_batches(dataset.eval(split, batch_size), dataset.root, prefetch_to_gpu):
            before_batch()
            yield model.eval_step(*batch)
            after_batch(len(batch.ids))

    return Scores.from_tally(sum_tallies(tallies()))


def _memory_advice(config: TrainConfig) -> str:
    batch_size = config.trainer.batch_size
    smaller = f"trainer.batch_size={batch_size // 2}" if batch_size > 1 else "a smaller model"
    return f"type {smaller} (now {batch_size}) and hydra.run.dir=ANOTHER"


def _check_directory(run_dir: Path, config: TrainConfig, dataset: ShardedDataset) -> None:
    run_info.check_same_run(run_dir, config, dataset)
    refuse_old_checkpoints(run_dir / "checkpoints")
    if (run_dir / HISTORY).exists() and not any((run_dir / "checkpoints").glob(CHECKPOINTS)):
        raise UsageError(
            f"{run_dir} holds a run whose checkpoints/{CHECKPOINTS} are missing, so it cannot continue: "
            "type hydra.run.dir=ANOTHER"
        )


def _start_session(
    config: TrainConfig,
    dataset: ShardedDataset,
    run_dir: Path,
    replicas: Replicas,
    signals: StopSignals,
    load_weights: LoadWeights | None,
) -> tuple[TrainingSession, RunStart | None, str]:
    """Builds the network, and loads the newest checkpoint or the weights that the run begins with.

    Returns:
      The session, what the run began from if it begins now, and the line that names the checkpoint.
    """
    keras.utils.clear_session()
    manifest, trainer = dataset.manifest, config.trainer
    with replicas.strategy.scope():
        net = build_model(config.model, len(manifest.palette), trainer.seed, trainer.precision)
        is_new = not any((run_dir / "checkpoints").glob(CHECKPOINTS))
        start = load_weights(net, manifest.palette) if load_weights and is_new else None
        model = CompiledModel.create(net, manifest, config, replicas)
    progress, resumed = load_newest_checkpoint(run_dir / "checkpoints", model)
    if not progress.step and not start:
        _refuse_lost_start(run_dir)
    replicas.check_agreement(manifest.dataset_fingerprint, progress.epoch, progress.step, *config.steps)
    budget = Budget(
        trainer.epochs and trainer.epochs * config.steps_per_epoch(dataset.examples("train")),
        trainer.max_minutes,
        training_seconds=progress.training_seconds,
        compile_seconds=progress.compile_seconds,
        first_step=progress.step,
    )
    checkpoint_writer = CheckpointWriter(
        run_dir / "checkpoints", trainer, model, progress, budget, writes=replicas.is_chief
    )
    session = TrainingSession(config, dataset, model, progress, budget, checkpoint_writer, replicas, signals)
    return session, start, resumed


def _refuse_lost_start(run_dir: Path) -> None:
    """Refuses to begin with random weights a run that began with others, and has no good checkpoint."""
    if not (run_dir / run_info.RUN_NAME).exists():
        return
    if start := run_info.RunInfo.read(run_dir).start:
        raise UsageError(
            f"{run_dir} holds a run that began from init={start.init} and has no undamaged checkpoint: "
            "repeat its first command with hydra.run.dir=ANOTHER"
        )


def _start_artifacts(session: TrainingSession, run_dir: Path) -> RunArtifacts:
    manifest = session.dataset.manifest
    histogram = manifest.splits[session.dataset.selection_split].label_histogram
    return RunArtifacts.create(
        run_dir,
        session.config,
        session.dataset,
        Baselines.from_histogram(histogram, manifest.palette),
        session.progress.history,
        session.replicas.is_chief,
    )


def _summarize(session: TrainingSession, artifacts: RunArtifacts, interrupted: int = 0) -> Summary:
    return Summary(
        artifacts.run_dir,
        artifacts.baselines,
        artifacts.history,
        artifacts.best,
        session.model.eval_net,
        interrupted,
    )


def _train_until_end_or_signal(session: TrainingSession, artifacts: RunArtifacts) -> int:
    """Trains and writes the artifacts of each epoch; returns the number of the signal that ended it, or 0."""
    try:
        for epoch in _train_epochs(session):
            artifacts.write(session.model.eval_net)
            session.replicas.print_once(epoch.report(session.config.trainer.epochs))
    except Interrupted as e:
        session.checkpoint_writer.write()
        return e.signum
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as e:
        raise WorkError(
            f"another of the {session.replicas.num_processes} processes of this run has ended: start all of "
            f"them again with the same command to continue from {session.checkpoint_writer.directory}"
        ) from e
    return 0


def _train_epochs(session: TrainingSession) -> Iterator[Epoch]:
    """Trains and validates epochs until the run is over; yields each one after its checkpoint is written."""
    progress = session.progress
    while not session.is_over:
        train_scores = _train_epoch(session)
        val_scores = None
        if session.dataset.examples("val"):
            # If the process is killed during validation, the epoch need not be trained again.
            session.checkpoint_writer.write()
            val_scores = _validate(session)
        images = progress.steps_in_epoch * session.config.trainer.batch_size
        epoch = Epoch(
            number=progress.epoch,
            step=progress.step,
            seconds=progress.seconds,
            images_per_second=images / progress.seconds,
            input_wait=progress.input_wait_seconds / progress.seconds,
            learning_rate=float(session.model.optimizer.learning_rate.numpy()),
            train=train_scores,
            val=val_scores,
        )
        progress.end_epoch(epoch)
        session.checkpoint_writer.write()
        yield epoch


def _train_epoch(session: TrainingSession) -> Scores:
    """Does the remaining steps of the epoch, as far as the budget lasts; returns the training scores."""
    config, progress, model = session.config, session.progress, session.model
    epoch = tf.constant(progress.epoch)  # a tensor, because each Python number would be traced anew
    now = loss_read_at = time.monotonic()
    with _training_bar(session) as bar:
        for columns in _remaining_batches(session):
            fraction = session.budget.fraction_used(progress.step)
            model.optimizer.learning_rate = learning_rate(fraction, config.optimizer)
            sums = model.train_step(epoch, *columns)
            progress.pixel_sums = sums + progress.pixel_sums
            progress.step += 1
            progress.steps_in_epoch += 1
            note = None
            if progress.step % STEPS_BETWEEN_LOSSES == 0 or now - loss_read_at >= SECONDS_BETWEEN_LOSSES:
                note, loss_read_at = f"loss {_finite_scores(session).loss:.3f}", now
            bar.update(config.trainer.batch_size, note)
            now = _count_seconds(progress, since=now)
            if session.checkpoint_writer.is_due():
                _finite_scores(session)
                session.checkpoint_writer.write()
                now = time.monotonic()
            session.signals.raise_if_stopped()
    scores = _finite_scores(session)
    _count_seconds(progress, since=now)
    return scores


def _remaining_batches(session: TrainingSession) -> Iterator[Sequence[Any]]:
    """Yields the columns of the remaining batches of the epoch until the budget is spent.

    It measures the time that the step waits for them.
    """
    config, progress = session.config, session.progress
    remaining = session.steps_per_epoch - progress.steps_in_epoch
    if remaining == 0 or session.budget.is_spent(progress.step):
        return
    waiting_since = time.monotonic()
    batches = session.dataset.train(
        config.trainer.batch_size,
        seed=config.trainer.seed,
        epoch=progress.epoch,
        shuffle_buffer=config.data.shuffle_buffer,
        shuffle_megabytes=config.data.shuffle_megabytes,
        lines=config.augment.line_weights,
        skip=progress.steps_in_epoch,
    )
    placed = read_batches(batches, session.dataset.root, session.replicas.place)
    for columns in itertools.islice(placed, remaining):
        progress.input_wait_seconds += time.monotonic() - waiting_since
        yield columns
        if session.budget.is_spent(progress.step):
            return
        waiting_since = time.monotonic()


def _validate(session: TrainingSession) -> Scores:
    name = f"{console.epoch_title(session.progress.epoch, session.config)}, validation"
    with ProgressBar(name, session.dataset.examples("val"), shown=session.replicas.is_chief) as bar:
        return evaluate(
            session.model,
            session.dataset,
            "val",
            session.config.trainer.batch_size,
            session.signals.raise_if_stopped,
            bar.update,
        )


def _finite_scores(session: TrainingSession) -> Scores:
    """Returns the training scores of the epoch so far.

    Raises:
      WorkError: the loss is infinite or not a number.
    """
    scores = Scores.from_sums(session.progress.pixel_sums)
    if not math.isfinite(scores.loss):
        raise WorkError(
            f"the loss is {scores.loss} at step {session.progress.step}: try a lower learning rate than "
            f"optimizer.learning_rate={session.config.optimizer.learning_rate:g}"
        )
    return scores


def _count_seconds(progress: Progress, since: float) -> float:
    """Adds the time since `since` to the seconds of the epoch; returns the current time."""
    now = time.monotonic()
    progress.seconds += now - since
    return now


def _training_bar(session: TrainingSession) -> ProgressBar:
    progress, batch_size = session.progress, session.config.trainer.batch_size
    is_first_step = progress.step == session.budget.first_step
    return ProgressBar(
        console.epoch_title(progress.epoch, session.config),
        session.steps_per_epoch * batch_size,
        done=progress.steps_in_epoch * batch_size,
        note="compiling the first step" if is_first_step else "",
        shown=session.replicas.is_chief,
    )
