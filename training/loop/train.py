"""One training run, from the manifest to the last picture: read it top to bottom."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf

import tfrecords_schema as schema
from training.atomic_files import remove_unfinished
from training.cli import lowering
from training.config import TrainConfig
from training.data.dataset import Batch, eval_dataset, examples, read, selection_split, train_batches
from training.errors import UsageError, WorkError
from training.loop.checkpoint import CHECKPOINTS, CheckpointWriter, check_version, load_progress
from training.loop.checkpoint_file import Progress
from training.loop.distribution import Replicas
from training.loop.lock import lock_run_directory
from training.loop.schedule import Budget, learning_rate
from training.loop.signals import Interrupted, StopSignals
from training.loop.step import CompiledModel
from training.metrics.baselines import Baselines
from training.metrics.scores import Scores, Tally, total
from training.models import build_model
from training.run import console, run_info
from training.run.artifacts import HISTORY, RunArtifacts
from training.run.history import Epoch, is_stuck
from training.run.progress import ProgressBar

# Looking at the loss makes the host wait for the device, so it is done once in so many steps, or seconds.
LOOK_EVERY = 25
LOOK_AFTER = 5.0


@dataclass(frozen=True)
class Summary:
    """What a run came to; `best` has the lowest validation (or else training) loss, `net` is the last one.

    `interrupted` is the number of the signal that ended it early, 0 if none did.
    """

    run_dir: Path
    baselines: Baselines
    epochs: list[Epoch]
    best: Epoch | None
    net: keras.Model
    interrupted: int


def train(config: TrainConfig, manifest: schema.Manifest, run_dir: Path) -> Summary:
    """Trains the network of `config` on the dataset of `manifest`; all it leaves lies in `run_dir`.

    With several processes one of them, the chief, writes and speaks.

    Where a run with these settings stands already, it goes on at the very step where its last state was
    saved; with steps alone as its budget it ends, on a CPU, with the same weights to the bit as if it had
    never been stopped. Ctrl-C, SIGTERM and SIGHUP save the state and end it early.

    Raises:
      UsageError: the settings and the dataset do not go together, or the directory holds another run.
      WorkError: a damaged shard, a loss that is no longer finite, another process in this directory, or one
        of the processes that share the run is gone.
    """
    config.check_fits(manifest)
    replicas = Replicas.of(config.trainer.strategy)
    replicas.check_batch_size(config.trainer.batch_size)
    with lock_run_directory(run_dir) if replicas.is_chief else nullcontext(), StopSignals() as signals:
        batch = config.trainer.batch_size
        less = f"trainer.batch_size={batch // 2}" if batch > 1 else "a smaller model"
        with lowering(f"type {less} (now {batch}) and hydra.run.dir=ANOTHER"):
            return _train(config, manifest, run_dir, replicas, signals)


def _train(
    config: TrainConfig,
    manifest: schema.Manifest,
    run_dir: Path,
    replicas: Replicas,
    signals: StopSignals,
) -> Summary:
    _check_directory(run_dir, config, manifest)
    if replicas.is_chief:
        remove_unfinished(run_dir)
    keras.utils.clear_session()

    with replicas.strategy.scope():
        net = build_model(config.model, len(manifest.palette), config.trainer.seed, config.trainer.precision)
        model = CompiledModel.of(net, manifest, config, replicas)
    progress, resumed = load_progress(run_dir / "checkpoints", model)
    replicas.check_agreement(manifest.dataset_fingerprint, progress.epoch, progress.step, *config.steps)
    baselines = Baselines.of(manifest.splits[selection_split(manifest)].label_histogram, manifest.palette)
    journal = RunArtifacts.of(run_dir, config, manifest, baselines, progress.history, replicas.is_chief)
    budget = _budget(config, manifest, progress)
    checkpoint_writer = CheckpointWriter(
        run_dir / "checkpoints", config.trainer, model, progress, budget, replicas.is_chief
    )
    if _is_over(progress, budget, config):
        journal.make_up(model.eval_net, epoch_just_ended=True)
        replicas.print_once(console.complete(journal, config))
        return Summary(run_dir, baselines, journal.epochs, journal.best, model.eval_net, interrupted=0)
    if replicas.is_chief:
        run_info.write_run(run_dir / run_info.RUN_NAME, config, manifest, net)
    replicas.print_once(console.opening(config, manifest, net, baselines, run_dir))
    if resumed:
        replicas.print_once(resumed)
    journal.make_up(model.eval_net, epoch_just_ended=progress.steps_in_epoch == 0)
    replicas.print_once(console.starting(config))

    interrupted = 0
    try:
        for epoch in _epochs(config, manifest, model, progress, budget, checkpoint_writer, replicas, signals):
            journal.write(model.eval_net)
            replicas.print_once(epoch.line(config.trainer.epochs))
    except Interrupted as e:
        checkpoint_writer.write()
        interrupted = e.signum
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as e:
        raise WorkError(
            f"another of the {replicas.num_processes} processes of this run is gone: start all of them again with "
            f"the same command, and the run goes on where {run_dir / 'checkpoints'} has it"
        ) from e

    with suppress(OSError) if interrupted else nullcontext():  # after SIGHUP the terminal is gone
        replicas.print_once(console.closing(journal, config, manifest, progress, interrupted))
    return Summary(run_dir, baselines, journal.epochs, journal.best, model.eval_net, interrupted)


def evaluate(
    model: CompiledModel,
    config: TrainConfig,
    manifest: schema.Manifest,
    split: str,
    check: Callable[[], None] = lambda: None,
    count: Callable[[int], None] = lambda images: None,
) -> Scores:
    """Scores over every example of a split that has some.

    `check` is called before each batch, `count` after it with its number of images.
    """
    dataset = eval_dataset(config.data.root, manifest, split=split, batch_size=config.trainer.batch_size)

    def tallies() -> Iterator[Tally]:
        for batch in read(dataset, config.data.root):
            check()
            yield model.eval_step(*batch)
            count(len(batch.ids))

    return Scores.of_tally(total(tallies()))


def _check_directory(run_dir: Path, config: TrainConfig, manifest: schema.Manifest) -> None:
    run_info.check_same_run(run_dir, config, manifest)
    check_version(run_dir / "checkpoints")
    if (run_dir / HISTORY).exists() and not list((run_dir / "checkpoints").glob(CHECKPOINTS)):
        raise UsageError(
            f"{run_dir} holds a run whose checkpoints/{CHECKPOINTS} are gone, so it cannot go on: "
            "type hydra.run.dir=ANOTHER"
        )


def _budget(config: TrainConfig, manifest: schema.Manifest, progress: Progress) -> Budget:
    steps = config.steps_per_epoch(examples(manifest, "train"))
    return Budget(
        config.trainer.epochs and config.trainer.epochs * steps,
        config.trainer.max_minutes,
        training_seconds=progress.training_seconds,
        compile_seconds=progress.compile_seconds,
        first_step=progress.step,
    )


def _is_over(progress: Progress, budget: Budget, config: TrainConfig) -> bool:
    # An epoch that was begun is scored, even when the budget is spent.
    return progress.steps_in_epoch == 0 and (
        budget.is_spent(progress.step) or is_stuck(progress.history, config.trainer.patience)
    )


def _epochs(
    config: TrainConfig,
    manifest: schema.Manifest,
    model: CompiledModel,
    progress: Progress,
    budget: Budget,
    checkpoint_writer: CheckpointWriter,
    replicas: Replicas,
    signals: StopSignals,
) -> Iterator[Epoch]:
    """Trains and evaluates one epoch after the other, until the budget is spent; each is in a state then."""
    has_val = examples(manifest, "val") > 0
    while not _is_over(progress, budget, config):
        scores = _train_epoch(config, manifest, model, progress, budget, checkpoint_writer, replicas, signals)
        if has_val:
            # So that who is killed while validating need not train again.
            checkpoint_writer.write()
        name = f"{console.epoch_of(progress.epoch, config)}, validation"
        with ProgressBar(name, examples(manifest, "val"), shown=replicas.is_chief and has_val) as meter:
            checks = (signals.raise_if_stopped, meter.update)
            val = evaluate(model, config, manifest, "val", *checks) if has_val else None
        images = progress.steps_in_epoch * config.trainer.batch_size
        epoch = Epoch(
            number=progress.epoch,
            step=progress.step,
            seconds=progress.seconds,
            images_per_second=images / progress.seconds,
            input_wait=progress.input_wait_seconds / progress.seconds,
            learning_rate=float(model.optimizer.learning_rate.numpy()),
            train=scores,
            val=val,
        )
        progress.end_epoch(epoch)
        checkpoint_writer.write()
        yield epoch


def _train_epoch(
    config: TrainConfig,
    manifest: schema.Manifest,
    model: CompiledModel,
    progress: Progress,
    budget: Budget,
    checkpoint_writer: CheckpointWriter,
    replicas: Replicas,
    signals: StopSignals,
) -> Scores:
    """Takes the steps that are left of the epoch, or of the budget; returns the scores on the way."""
    epoch = tf.constant(progress.epoch)  # a tensor: a number would compile anew
    clock = looked = time.monotonic()
    first = progress.step == budget.first_step
    with _meter(config, manifest, progress, replicas, first) as meter:
        for batch in _batches_left(config, manifest, progress, budget):
            model.optimizer.learning_rate = learning_rate(
                budget.fraction_used(progress.step), config.optimizer
            )
            progress.pixel_sums = model.train_step(epoch, *replicas.split_batch(batch)) + progress.pixel_sums
            progress.step += 1
            progress.steps_in_epoch += 1
            note = None
            if progress.step % LOOK_EVERY == 0 or clock - looked >= LOOK_AFTER:
                note, looked = f"loss {_finite(progress, config).loss:.3f}", clock
            meter.update(config.trainer.batch_size, note)
            clock = _count_seconds(progress, clock)
            if checkpoint_writer.is_due():
                _finite(progress, config)
                checkpoint_writer.write()
                clock = time.monotonic()
            signals.raise_if_stopped()
    scores = _finite(progress, config)
    _count_seconds(progress, clock)
    return scores


def _batches_left(
    config: TrainConfig, manifest: schema.Manifest, progress: Progress, budget: Budget
) -> Iterator[Batch]:
    """The batches of the epoch from where it stands, as long as the budget lasts; counts the waiting."""
    left = config.steps_per_epoch(examples(manifest, "train")) - progress.steps_in_epoch
    if left == 0 or budget.is_spent(progress.step):
        return
    epoch = train_batches(
        config.data.root,
        manifest,
        batch_size=config.trainer.batch_size,
        seed=config.trainer.seed,
        epoch=progress.epoch,
        shuffle_buffer=config.data.shuffle_buffer,
        shuffle_megabytes=config.data.shuffle_megabytes,
        skip=progress.steps_in_epoch,
    )
    batches = itertools.islice(epoch, left)
    asked = time.monotonic()
    for batch in batches:
        progress.input_wait_seconds += time.monotonic() - asked
        yield batch
        if budget.is_spent(progress.step):
            return
        asked = time.monotonic()


def _count_seconds(progress: Progress, since: float) -> float:
    now = time.monotonic()
    progress.seconds += now - since
    return now


def _finite(progress: Progress, config: TrainConfig) -> Scores:
    scores = Scores.of(progress.pixel_sums)
    if not math.isfinite(scores.loss):
        raise WorkError(
            f"the loss is {scores.loss} at step {progress.step}: try a lower learning rate than "
            f"optimizer.learning_rate={config.optimizer.learning_rate:g}"
        )
    return scores


def _meter(
    config: TrainConfig, manifest: schema.Manifest, progress: Progress, replicas: Replicas, first: bool
) -> ProgressBar:
    batch = config.trainer.batch_size
    return ProgressBar(
        console.epoch_of(progress.epoch, config),
        config.steps_per_epoch(examples(manifest, "train")) * batch,
        done=progress.steps_in_epoch * batch,
        starting="compiling the first step" if first else "",
        shown=replicas.is_chief,
    )
