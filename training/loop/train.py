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

from training.atomic_files import remove_unfinished
from training.cli import explain_out_of_memory
from training.config import TrainConfig
from training.data.dataset import Batch, ShardedDataset
from training.errors import UsageError, WorkError
from training.loop.checkpoint import STATES, CheckpointWriter, load_progress
from training.loop.checkpoint_file import Progress
from training.loop.distribution import Replicas
from training.loop.lock import only_trainer
from training.loop.schedule import Budget, learning_rate
from training.loop.signals import Interrupted, StopSignals
from training.loop.step import Learner
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


def train(config: TrainConfig, dataset: ShardedDataset, run_dir: Path) -> Summary:
    """Trains the network of `config` on `dataset`; all it leaves lies in `run_dir`.

    With several processes one of them, the chief, writes and speaks.

    Where a run with these settings stands already, it goes on at the very step where its last state was
    saved; with steps alone as its budget it ends, on a CPU, with the same weights to the bit as if it had
    never been stopped. Ctrl-C, SIGTERM and SIGHUP save the state and end it early.

    Raises:
      UsageError: the settings and the dataset do not go together, or the directory holds another run.
      WorkError: a damaged shard, a loss that is no longer finite, another process in this directory, or one
        of the processes that share the run is gone.
    """
    config.check_fits(dataset.manifest)
    replicas = Replicas.of(config.trainer.strategy)
    replicas.check_fits(config.trainer.batch_size)
    with only_trainer(run_dir) if replicas.is_chief else nullcontext(), StopSignals() as interrupts:
        batch = config.trainer.batch_size
        less = f"trainer.batch_size={batch // 2}" if batch > 1 else "a smaller model"
        with explain_out_of_memory(f"type {less} (now {batch}) and hydra.run.dir=ANOTHER"):
            return _train(config, dataset, run_dir, replicas, interrupts)


def _train(
    config: TrainConfig,
    dataset: ShardedDataset,
    run_dir: Path,
    replicas: Replicas,
    interrupts: StopSignals,
) -> Summary:
    _check_directory(run_dir, config, dataset)
    manifest = dataset.manifest
    if replicas.is_chief:
        remove_unfinished(run_dir)
    keras.utils.clear_session()

    with replicas.strategy.scope():
        net = build_model(config.model, len(manifest.palette), config.trainer.seed, config.trainer.precision)
        learner = Learner.of(net, manifest, config, replicas)
    progress, resumed = load_progress(run_dir / "checkpoints", learner)
    replicas.check_agreement(manifest.dataset_fingerprint, progress.epoch, progress.step, *config.steps)
    baselines = Baselines.of(manifest.splits[dataset.selection_split].label_histogram, manifest.palette)
    journal = RunArtifacts.of(run_dir, config, dataset, baselines, progress.history, replicas.is_chief)
    budget = _budget(config, dataset, progress)
    saver = CheckpointWriter(
        run_dir / "checkpoints", config.trainer, learner, progress, budget, replicas.is_chief
    )
    if _is_over(progress, budget, config):
        journal.make_up(learner.judged, epoch_just_ended=True)
        replicas.say(console.complete(journal, config))
        return Summary(run_dir, baselines, journal.epochs, journal.best, learner.judged, interrupted=0)
    if replicas.is_chief:
        run_info.write_run(run_dir / run_info.RUN_NAME, config, dataset, net)
    replicas.say(console.opening(config, dataset, net, baselines, run_dir))
    if resumed:
        replicas.say(resumed)
    journal.make_up(learner.judged, epoch_just_ended=progress.in_epoch == 0)
    replicas.say(console.starting(config))

    interrupted = 0
    try:
        for epoch in _epochs(config, dataset, learner, progress, budget, saver, replicas, interrupts):
            journal.write(learner.judged)
            replicas.say(epoch.line(config.trainer.epochs))
    except Interrupted as e:
        saver.save()
        interrupted = e.signum
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as e:
        raise WorkError(
            f"another of the {replicas.workers} processes of this run is gone: start all of them again with "
            f"the same command, and the run goes on where {run_dir / 'checkpoints'} has it"
        ) from e

    with suppress(OSError) if interrupted else nullcontext():  # after SIGHUP the terminal is gone
        replicas.say(console.closing(journal, config, dataset, progress, interrupted))
    return Summary(run_dir, baselines, journal.epochs, journal.best, learner.judged, interrupted)


def evaluate(
    learner: Learner,
    dataset: ShardedDataset,
    split: str,
    batch_size: int,
    check: Callable[[], None] = lambda: None,
    count: Callable[[int], None] = lambda images: None,
) -> Scores:
    """Scores over every example of a split that has some.

    `check` is called before each batch, `count` after it with its number of images.
    """

    def tallies() -> Iterator[Tally]:
        for batch in dataset.eval(split, batch_size):
            check()
            yield learner.eval_step(*batch)
            count(len(batch.ids))

    return Scores.of_tally(total(tallies()))


def _check_directory(run_dir: Path, config: TrainConfig, dataset: ShardedDataset) -> None:
    run_info.check_same_run(run_dir, config, dataset)
    if (run_dir / HISTORY).exists() and not list((run_dir / "checkpoints").glob(STATES)):
        raise UsageError(
            f"{run_dir} holds a run whose checkpoints/{STATES} are gone, so it cannot go on: "
            "type hydra.run.dir=ANOTHER"
        )


def _budget(config: TrainConfig, dataset: ShardedDataset, progress: Progress) -> Budget:
    steps = config.steps_per_epoch(dataset.examples("train"))
    return Budget(
        config.trainer.epochs and config.trainer.epochs * steps,
        config.trainer.max_minutes,
        trained=progress.trained,
        compiling=progress.compiling,
        first_step=progress.step,
    )


def _is_over(progress: Progress, budget: Budget, config: TrainConfig) -> bool:
    # An epoch that was begun is scored, even when the budget is spent.
    return progress.in_epoch == 0 and (
        budget.is_spent(progress.step) or is_stuck(progress.history, config.trainer.patience)
    )


def _epochs(
    config: TrainConfig,
    dataset: ShardedDataset,
    learner: Learner,
    progress: Progress,
    budget: Budget,
    saver: CheckpointWriter,
    replicas: Replicas,
    interrupts: StopSignals,
) -> Iterator[Epoch]:
    """Trains and evaluates one epoch after the other, until the budget is spent; each is in a state then."""
    has_val = dataset.examples("val") > 0
    while not _is_over(progress, budget, config):
        scores = _train_epoch(config, dataset, learner, progress, budget, saver, replicas, interrupts)
        if has_val:
            # So that who is killed while validating need not train again.
            saver.save()
        name = f"{console.epoch_of(progress.epoch, config)}, validation"
        with ProgressBar(name, dataset.examples("val"), shown=replicas.is_chief and has_val) as meter:
            checks = (interrupts.check, meter.update)
            val = evaluate(learner, dataset, "val", config.trainer.batch_size, *checks) if has_val else None
        images = progress.in_epoch * config.trainer.batch_size
        epoch = Epoch(
            number=progress.epoch,
            step=progress.step,
            seconds=progress.seconds,
            images_per_second=images / progress.seconds,
            input_wait=progress.waited / progress.seconds,
            learning_rate=float(learner.optimizer.learning_rate.numpy()),
            train=scores,
            val=val,
        )
        progress.end_epoch(epoch)
        saver.save()
        yield epoch


def _train_epoch(
    config: TrainConfig,
    dataset: ShardedDataset,
    learner: Learner,
    progress: Progress,
    budget: Budget,
    saver: CheckpointWriter,
    replicas: Replicas,
    interrupts: StopSignals,
) -> Scores:
    """Takes the steps that are left of the epoch, or of the budget; returns the scores on the way."""
    epoch = tf.constant(progress.epoch)  # a tensor: a number would compile anew
    clock = looked = time.monotonic()
    first = progress.step == budget.first_step
    with _meter(config, dataset, progress, replicas, first) as meter:
        for batch in _batches_left(config, dataset, progress, budget):
            learner.optimizer.learning_rate = learning_rate(budget.progress(progress.step), config.optimizer)
            progress.sums = learner.train_step(epoch, *replicas.rows(batch)) + progress.sums
            progress.step += 1
            progress.in_epoch += 1
            note = None
            if progress.step % LOOK_EVERY == 0 or clock - looked >= LOOK_AFTER:
                note, looked = f"loss {_finite(progress, config).loss:.3f}", clock
            meter.update(config.trainer.batch_size, note)
            clock = _count_seconds(progress, clock)
            if saver.is_due():
                _finite(progress, config)
                saver.save()
                clock = time.monotonic()
            interrupts.check()
    scores = _finite(progress, config)
    _count_seconds(progress, clock)
    return scores


def _batches_left(
    config: TrainConfig, dataset: ShardedDataset, progress: Progress, budget: Budget
) -> Iterator[Batch]:
    """The batches of the epoch from where it stands, as long as the budget lasts; counts the waiting."""
    left = config.steps_per_epoch(dataset.examples("train")) - progress.in_epoch
    if left == 0 or budget.is_spent(progress.step):
        return
    epoch = dataset.train(
        config.trainer.batch_size,
        seed=config.trainer.seed,
        epoch=progress.epoch,
        shuffle_buffer=config.data.shuffle_buffer,
        shuffle_megabytes=config.data.shuffle_megabytes,
        skip=progress.in_epoch,
    )
    batches = itertools.islice(epoch, left)
    asked = time.monotonic()
    for batch in batches:
        progress.waited += time.monotonic() - asked
        yield batch
        if budget.is_spent(progress.step):
            return
        asked = time.monotonic()


def _count_seconds(progress: Progress, since: float) -> float:
    now = time.monotonic()
    progress.seconds += now - since
    return now


def _finite(progress: Progress, config: TrainConfig) -> Scores:
    scores = Scores.of(progress.sums)
    if not math.isfinite(scores.loss):
        raise WorkError(
            f"the loss is {scores.loss} at step {progress.step}: try a lower learning rate than "
            f"optimizer.learning_rate={config.optimizer.learning_rate:g}"
        )
    return scores


def _meter(
    config: TrainConfig, dataset: ShardedDataset, progress: Progress, replicas: Replicas, first: bool
) -> ProgressBar:
    batch = config.trainer.batch_size
    return ProgressBar(
        console.epoch_of(progress.epoch, config),
        config.steps_per_epoch(dataset.examples("train")) * batch,
        done=progress.in_epoch * batch,
        starting="compiling the first step" if first else "",
        shown=replicas.is_chief,
    )
