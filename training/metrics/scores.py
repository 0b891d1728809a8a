"""Scores of a network as sums over pixels, which add up exactly over batches of any size."""

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

# Up to so many colours, what was taken for what is counted in a table; above, it would be too large.
MAX_CONFUSION_COLORS = 256


@dataclass(frozen=True)
class Scores:
    """Means over pixels; those that are None were not measured (training steps measure the first two).

    `loss` is the cross-entropy in nats. From 0 to 1: `accuracy`; `balanced_accuracy`, the mean over the
    colours that occur of the share of their pixels found (mean recall); `top3_accuracy`, the share of
    pixels whose colour is among the likeliest three. `delta_e` is the mean CIEDE2000 difference between
    predicted and true palette colour.
    """

    loss: float
    accuracy: float
    balanced_accuracy: float | None = None
    top3_accuracy: float | None = None
    delta_e: float | None = None

    @property
    def bits(self) -> float:
        """The loss in bits a pixel."""
        return self.loss / math.log(2)

    @classmethod
    def from_sums(cls, sums: tf.Tensor) -> Scores:
        """From what `pixel_sums` gives, added up over batches."""
        loss, correct, pixels = (float(value) for value in sums)
        return cls(loss / pixels, correct / pixels)

    @classmethod
    def from_tally(cls, tally: Tally) -> Scores:
        """All scores, from a tally of at least one pixel."""
        loss, top3, delta_e, hits, counts = (np.asarray(part, np.float64) for part in tally[:5])
        pixels, seen = counts.sum(), counts > 0
        return cls(
            loss=float(loss / pixels),
            accuracy=float(hits.sum() / pixels),
            balanced_accuracy=float((hits[seen] / counts[seen]).mean()),
            top3_accuracy=float(top3 / pixels),
            delta_e=float(delta_e / pixels),
        )


class Tally(NamedTuple):
    """Sums over pixels. `loss` and `delta_e` are float64 scalars, everything else counts in int64.

    `top3` is a scalar; `hits` and `counts` [K] are pixels coloured right and pixels, by true label;
    `confusion` [K, K] counts pixels by true and predicted label, or is empty above 256 colours.
    """

    loss: tf.Tensor
    top3: tf.Tensor
    delta_e: tf.Tensor
    hits: tf.Tensor
    counts: tf.Tensor
    confusion: tf.Tensor


def sum_tallies(tallies: Iterable[Tally]) -> Tally:
    """Adds up one or more tallies, where they are."""
    return functools.reduce(lambda one, other: Tally(*map(tf.add, one, other)), tallies)


def tally_pixels(mean_loss: tf.Tensor, logits: tf.Tensor, labels: tf.Tensor, rgb: np.ndarray) -> Tally:
    """One batch's tally.

    Of equal logits the first is the likeliest, for accuracy and for the likeliest three alike.

    Args:
      mean_loss: scalar, the mean over the batch's pixels.
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
    apart = ciede2000(tf.gather(lab, labels), tf.gather(lab, predicted), tf.experimental.numpy)
    counts = _histogram(labels, colors)
    return Tally(loss, top3, tf.reduce_sum(apart), hits, counts, tf.zeros([0, 0], tf.int64))


def pixel_sums(mean_loss: tf.Tensor, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """One batch's float64 [3], all that a training step measures: loss, pixels coloured right, pixels.

    float64, because float32 stops counting single pixels at 2^24, after a few hundred images.

    Args:
      mean_loss: scalar, the mean over the batch's pixels.
      logits: float [B, H, W, K].
      labels: integers [B, H, W].
    """
    predicted = tf.argmax(logits, axis=-1, output_type=tf.int32)
    correct = _count(predicted == tf.cast(labels, tf.int32))
    pixels = tf.cast(tf.size(labels), tf.float64)
    return tf.stack([tf.cast(mean_loss, tf.float64) * pixels, tf.cast(correct, tf.float64), pixels])


def _rank(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """How many colours are likelier than the true one: int32 [N]."""
    at_label = tf.gather(logits, labels, batch_dims=1)[:, None]
    before = tf.range(logits.shape[-1])[None] < labels[:, None]
    return tf.reduce_sum(tf.cast((logits > at_label) | ((logits == at_label) & before), tf.int32), axis=-1)


def _histogram(values: tf.Tensor, bins: int) -> tf.Tensor:
    return tf.cast(tf.math.unsorted_segment_sum(tf.ones_like(values), values, bins), tf.int64)


def _count(holds: tf.Tensor) -> tf.Tensor:
    return tf.math.count_nonzero(holds, dtype=tf.int64)
