"""Softmax cross-entropy over the palette, in float32 whatever the network computes in."""

from __future__ import annotations

import tensorflow as tf

from training.config import LossConfig

# Where Keras clips probabilities before taking their logarithm (keras.config.epsilon()).
EPSILON = 1e-7


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor, config: LossConfig) -> tf.Tensor:
    """The mean over pixels, in nats, with label smoothing (Szegedy et al. 2016) when configured.

    With smoothing ε the target is (1 - ε) one-hot + ε / K, so the loss is
    log Σ exp(z) - (1 - ε) z_label - ε mean(z).

    Args:
      logits: float [B, H, W, K].
      labels: integers [B, H, W] in 0..K-1.
    """
    logits = tf.cast(logits, tf.float32)
    # A sum over one-hot instead of a gather: its gradient is no scatter, and XLA makes one pass of it all.
    at_target = tf.reduce_sum(logits * tf.one_hot(tf.cast(labels, tf.int32), logits.shape[-1]), axis=-1)
    if smoothing := config.label_smoothing:
        at_target = (1 - smoothing) * at_target + smoothing * tf.reduce_mean(logits, axis=-1)
    return tf.reduce_mean(tf.reduce_logsumexp(logits, axis=-1) - at_target)


def to_logits(outputs: tf.Tensor, gives_logits: bool) -> tf.Tensor:
    """Logits as they are; the article's scores as the logits that make the same cross-entropy.

    The article's network ends in a batch normalization, so its outputs are no probabilities: some are
    negative, and they do not add up to 1. Keras trains such a network without complaint, because its
    cross-entropy clips "probabilities" to [1e-7, 1 - 1e-7] and divides them by their sum. That is
    softmax(log(clip(scores))), which is what is done here, to the letter: scores outside the range get no
    gradient. It is the article as it stands, not advice; `article_logits` is the repair.
    """
    if gives_logits:
        return outputs
    scores = tf.clip_by_value(tf.cast(outputs, tf.float32), EPSILON, 1 - EPSILON)
    return tf.math.log(scores)
