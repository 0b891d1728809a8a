"""One training run, from the manifest to the last picture: read it top to bottom."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf
from tqdm import tqdm

import tfrecords_schema as schema
from training import report
from training.baselines import Baselines
from training.config import TrainConfig
from training.dataset import Batch, eval_dataset, examples, judged_split, read, train_dataset
from training.errors import WorkError
from training.history import Epoch
from training.journal import Journal
from training.learner import Learner
from training.metrics import Scores, total
from training.models import build_model
from training.schedule import Budget, learning_rate

# Looking at the loss makes the host wait for the device, so it is done once in so many steps.
LOOK_EVERY = 25


@dataclass(frozen=True)
class Summary:
    """What a run came to. `best` is the epoch with the lowest validation (or else training) loss."""

    run_dir: Path
    baselines: Baselines
    epochs: list[Epoch]
    best: Epoch | None
    net: keras.Model
    interrupted: bool


def train(config: TrainConfig, manifest: schema.Manifest, run_dir: Path) -> Summary:
    """Trains the network of `config` on the dataset of `manifest`; all it leaves lies in `run_dir`.

    Ctrl-C ends it early: what was written stays.

    Raises:
      UsageError: the settings and the dataset do not go together.
      WorkError: a damaged shard, or a loss that is no longer finite.
    """
    config.check_fits(manifest)
    keras.utils.clear_session()

    net = build_model(config.model, len(manifest.palette), config.trainer.seed, config.trainer.precision)
    learner = Learner.of(net, manifest, config)
    baselines = Baselines.of(manifest.splits[judged_split(manifest)].label_histogram, manifest.palette)
    journal = Journal.open(run_dir, config, manifest, net, baselines)
    print(report.opening(config, manifest, net, baselines, run_dir), flush=True)

    interrupted = False
    try:
        for epoch in _epochs(config, manifest, learner):
            journal.write(epoch, net)
            print(epoch.line(), flush=True)
    except KeyboardInterrupt:
        interrupted = True
    except tf.errors.ResourceExhaustedError as e:
        raise WorkError(
            f"out of memory: try a smaller batch than trainer.batch_size={config.trainer.batch_size}"
        ) from e

    print(report.closing(journal, manifest, interrupted), flush=True)
    return Summary(run_dir, baselines, journal.epochs, journal.best, net, interrupted)


def evaluate(learner: Learner, config: TrainConfig, manifest: schema.Manifest, split: str) -> Scores:
    """Scores over every example of a split that has some."""
    dataset = eval_dataset(config.data.root, manifest, split=split, batch_size=config.trainer.batch_size)
    batches = read(dataset, config.data.root)
    return Scores.of_tally(total(learner.eval_step(packed, labels) for packed, labels, _ in batches))


def _epochs(config: TrainConfig, manifest: schema.Manifest, learner: Learner) -> Iterator[Epoch]:
    """Trains and evaluates one epoch after the other, until the budget is spent."""
    steps = config.steps_per_epoch(examples(manifest, "train"))
    budget = Budget(config.trainer.epochs and config.trainer.epochs * steps, config.trainer.max_minutes)
    step = 0
    for number in itertools.count(1):
        if budget.is_spent(step):
            return
        started, first = time.monotonic(), step
        batches = read(_train_batches(config, manifest, number).take(steps), config.data.root)
        with _progress_bar(number, steps, config.trainer.batch_size) as bar:
            step, scores = _train_epoch(learner, batches, number, config, budget, step, bar)
        seconds = time.monotonic() - started
        yield Epoch(
            number=number,
            step=step,
            seconds=seconds,
            images_per_second=(step - first) * config.trainer.batch_size / seconds,
            learning_rate=float(learner.optimizer.learning_rate),
            train=scores,
            val=evaluate(learner, config, manifest, "val") if examples(manifest, "val") else None,
        )


def _train_epoch(
    learner: Learner,
    batches: Iterator[Batch],
    number: int,
    config: TrainConfig,
    budget: Budget,
    step: int,
    bar: tqdm,
) -> tuple[int, Scores]:
    """Takes steps until the batches or the budget end; returns the step reached and the scores on the way."""
    sums, epoch = tf.zeros(3, tf.float64), tf.constant(number)  # a tensor: a number would compile anew
    for packed, labels, ids in batches:
        learner.optimizer.learning_rate = learning_rate(budget.progress(step), config.optimizer)
        sums += learner.train_step(packed, labels, ids, epoch)
        step += 1
        if step % LOOK_EVERY == 0:
            so_far = _finite(Scores.of(sums), step, config)
            bar.set_postfix_str(f"loss {so_far.loss:.3f} accuracy {so_far.accuracy:.3f}", refresh=False)
        bar.update(config.trainer.batch_size)
        if budget.is_spent(step):
            break
    return step, _finite(Scores.of(sums), step, config)


def _train_batches(config: TrainConfig, manifest: schema.Manifest, epoch: int) -> tf.data.Dataset:
    return train_dataset(
        config.data.root,
        manifest,
        batch_size=config.trainer.batch_size,
        seed=config.trainer.seed,
        epoch=epoch,
        shuffle_buffer=config.data.shuffle_buffer,
    )


def _finite(scores: Scores, step: int, config: TrainConfig) -> Scores:
    if not math.isfinite(scores.loss):
        raise WorkError(
            f"the loss is {scores.loss} at step {step}: try a lower learning rate than "
            f"optimizer.learning_rate={config.optimizer.learning_rate:g}"
        )
    return scores


def _progress_bar(number: int, steps: int, batch_size: int) -> tqdm:
    # disable=None: no bar where there is no terminal.
    return tqdm(total=steps * batch_size, desc=f"epoch {number:3d}", unit="img", leave=False, disable=None)
