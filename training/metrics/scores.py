"""Scores of a network, computed from sums over pixels.

Sums add up exactly over batches of any size, so that the last batch may be smaller.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from training.metrics.ciede2000 import ciede2000, difference_table
from training.metrics.color_spaces import to_cielab

# Largest palette for which the confusion matrix is computed; it has K * K entries.
MAX_CONFUSION_COLORS = 256


@dataclass(frozen=True)
class Scores:
    """Means over pixels. Training steps compute only the first two; the others are None then.

    Attributes:
      loss: cross-entropy in nats.
      accuracy: fraction of pixels whose most probable colour is the true one.
      balanced_accuracy: mean recall, over the colours that occur.
      top3_accuracy: fraction of pixels whose true colour is among the three most probable.
      delta_e: mean CIEDE2000 difference between the predicted and the true palette colour.
    """

    loss: float
    accuracy: float
    balanced_accuracy: float | None = None
    top3_accuracy: float | None = None
    delta_e: float | None = None

    @property
    def bits(self) -> float:
        """The loss in bits per pixel."""
        return self.loss / math.log(2)

    @classmethod
    def from_sums(cls, sums: tf.Tensor) -> Scores:
        """Computes loss and accuracy from the results of `pixel_sums`, added up over batches."""
        loss, correct, pixels = (float(value) for value in sums)
        return cls(loss / pixels, correct / pixels)

    @classmethod
    def from_tally(cls, tally: Tally) -> Scores:
        """Computes all scores from a tally of at least one pixel."""
        loss, top3, delta_e, hits, counts = (np.asarray(part, np.float64) for part in tally[:5])
        pixels, occurs = counts.sum(), counts > 0
        return cls(
            loss=float(loss / pixels),
            accuracy=float(hits.sum() / pixels),
            balanced_accuracy=float((hits[occurs] / counts[occurs]).mean()),
            top3_accuracy=float(top3 / pixels),
            delta_e=float(delta_e / pixels),
        )


class Tally(NamedTuple):
    """Sums over pixels.

    Attributes:
      loss: float64, sum of the cross-entropy.
      top3: int64, pixels whose true label is among the three most probable.
      delta_e: float64, sum of the CIEDE2000 differences.
      hits: int64 [K], correctly predicted pixels by true label.
      counts: int64 [K], pixels by true label.
      confusion: int64 [K, K], pixels by true label (row) and predicted label (column); empty, [0, 0], for
        more than `MAX_CONFUSION_COLORS` colours.
    """

    loss: tf.Tensor
    top3: tf.Tensor
    delta_e: tf.Tensor
    hits: tf.Tensor
    counts: tf.Tensor
    confusion: tf.Tensor


def sum_tallies(tallies: Iterable[Tally]) -> Tally:
    """Adds up one or more tallies, on their device."""
    return functools.reduce(lambda first, second: Tally(*map(tf.add, first, second)), tallies)


def tally_pixels(mean_loss: tf.Tensor, logits: tf.Tensor, labels: tf.Tensor, rgb: np.ndarray) -> Tally:
    """Returns the tally of a batch.

    Of equal logits the first counts as the most probable, for accuracy and top-3 accuracy alike.

    Args:
      mean_loss: scalar, the mean over the pixels of the batch.
      logits: float [B, H, W, K].
      labels: integers [B, H, W].
      rgb: the palette, uint8 [K, 3].
    """
    colors = len(rgb)
    logits = tf.reshape(tf.cast(logits, tf.float32), [-1, colors])
    labels = tf.reshape(tf.cast(labels, tf.int32), [-1])
    predicted = tf.argmax(logits, axis=-1, output_type=tf.int32)
    loss = tf.cast(mean_loss, tf.float64) * tf.cast(tf.size(labels), tf.float64)
    top3 = _count(_rank(logits, labels) < 3)
    if colors <= MAX_CONFUSION_COLORS:
        confusion = tf.reshape(_histogram(labels * colors + predicted, colors**2), [colors, colors])
        hits, counts = tf.linalg.diag_part(confusion), tf.reduce_sum(confusion, axis=1)
        delta_e = tf.reduce_sum(tf.cast(confusion, tf.float64) * difference_table(rgb))
        return Tally(loss, top3, delta_e, hits, counts, confusion)
    hits = _histogram(tf.where(predicted == labels, labels, colors), colors + 1)[:-1]
    lab = tf.constant(to_cielab(rgb))
    differences = ciede2000(tf.gather(lab, labels), tf.gather(lab, predicted), tf.experimental.numpy)
    counts = _histogram(labels, colors)
    return Tally(loss, top3, tf.reduce_sum(differences), hits, counts, tf.zeros([0, 0], tf.int64))


def pixel_sums(mean_loss: tf.Tensor, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns the sums that a training step computes: loss, correctly predicted pixels, and pixels.

    Args:
      mean_loss: scalar, the mean over the pixels of the batch.
      logits: float [B, H, W, K].
      labels: integers [B, H, W].

    Returns:
      float64 [3]. float32 would stop counting single pixels at 2^24, after a few hundred images.
    """
    predicted = tf.argmax(logits, axis=-1, output_type=tf.int32)
    correct = _count(predicted == tf.cast(labels, tf.int32))
    pixels = tf.cast(tf.size(labels), tf.float64)
    return tf.stack([tf.cast(mean_loss, tf.float64) * pixels, tf.cast(correct, tf.float64), pixels])


def _rank(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns the rank of the true label among all labels, 0 for the most probable: int32 [N]."""
    true_logits = tf.gather(logits, labels, batch_dims=1)[:, None]
    precedes = tf.range(logits.shape[-1])[None] < labels[:, None]
    return tf.reduce_sum(
        tf.cast((logits > true_logits) | ((logits == true_logits) & precedes), tf.int32), axis=-1
    )


def _histogram(values: tf.Tensor, bins: int) -> tf.Tensor:
    return tf.cast(tf.math.unsorted_segment_sum(tf.ones_like(values), values, bins), tf.int64)


def _count(condition: tf.Tensor) -> tf.Tensor:
    return tf.math.count_nonzero(condition, dtype=tf.int64)
