"""Random changes to a batch, inside the compiled step: stateless, keyed by (seed, step)."""

from __future__ import annotations

import tensorflow as tf

from training.config import AugmentConfig


def augment(
    edges: tf.Tensor, labels: tf.Tensor, seed: int, step: tf.Tensor, config: AugmentConfig
) -> tuple[tf.Tensor, tf.Tensor]:
    """Applies what `config` asks for.

    Args:
      edges: float32 [B, S, S, 1].
      labels: integers [B, S, S].
      seed, step: decide every random draw; step is an integer scalar.

    Returns:
      Edges and labels of the same shapes, changed together.
    """
    if config.flip == 0:
        return edges, labels
    draws = tf.random.stateless_uniform([tf.shape(edges)[0]], seed=[seed, tf.cast(step, tf.int32)])
    return flip(edges, labels, draws < config.flip)


def flip(edges: tf.Tensor, labels: tf.Tensor, chosen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mirrors the examples where `chosen`, bool [B], is true from left to right."""
    edges = tf.where(chosen[:, None, None, None], tf.reverse(edges, [2]), edges)
    labels = tf.where(chosen[:, None, None], tf.reverse(labels, [2]), labels)
    return edges, labels
