"""Unpacks the edges of a batch inside the compiled step, on the accelerator."""

from __future__ import annotations

import tensorflow as tf


def unpack_edges(packed: tf.Tensor, image_size: int) -> tf.Tensor:
    """Inverse of `tfrecords_schema.pack_edges`, for a batch of one line style per example.

    Args:
      packed: uint8 [B, S*S/8], one bit per pixel, most significant bit first.
      image_size: S.

    Returns:
      edges, float32 [B, S, S, 1] in {0.0, 1.0}.
    """
    shifts = tf.range(7, -1, -1, dtype=tf.int32)
    bits = tf.bitwise.bitwise_and(tf.bitwise.right_shift(tf.cast(packed, tf.int32)[..., None], shifts), 1)
    return tf.cast(tf.reshape(bits, [-1, image_size, image_size, 1]), tf.float32)
