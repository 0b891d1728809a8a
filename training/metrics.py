"""Loss and accuracy as sums over pixels, which add up exactly over batches of any size."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class Scores:
    """Means over pixels: `loss` in nats, `accuracy` from 0 to 1."""

    loss: float
    accuracy: float

    @classmethod
    def of(cls, sums: tf.Tensor) -> Scores:
        """From what `pixel_sums` gives, added up over batches."""
        loss, correct, pixels = (float(value) for value in sums)
        return cls(loss / pixels, correct / pixels)


def pixel_sums(mean_loss: tf.Tensor, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """One batch's float64 [3]: loss, pixels coloured right, pixels.

    float64, because float32 stops counting single pixels at 2^24, after a few hundred images.

    Args:
      mean_loss: scalar, the mean over the batch's pixels.
      logits: float [B, H, W, K].
      labels: integers [B, H, W].
    """
    predicted = tf.argmax(logits, axis=-1, output_type=tf.int32)
    correct = tf.math.count_nonzero(predicted == tf.cast(labels, tf.int32), dtype=tf.int64)
    pixels = tf.cast(tf.size(labels), tf.float64)
    return tf.stack([tf.cast(mean_loss, tf.float64) * pixels, tf.cast(correct, tf.float64), pixels])
