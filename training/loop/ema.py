"""The exponential moving average (EMA) of a network's weights, which varies less than the weights."""

from __future__ import annotations

import keras
import tensorflow as tf


def averaged_copy(net: keras.Model) -> keras.Model:
    """Returns a network with the layers, names and weights of `net`, and with variables of its own."""
    copy = keras.models.clone_model(net)
    copy.set_weights(net.get_weights())
    return copy


def update_averages(average: keras.Model, net: keras.Model, steps: tf.Tensor, decay: float) -> None:
    """Moves all variables of `average`, running statistics included, towards those of `net`.

    mean = d mean + (1 - d) weight with d = min(decay, (1 + steps) / (10 + steps)). The idea is that of Polyak
    & Juditsky (1992). The smaller d at the start keeps the initial weights from dominating a short run.

    Args:
      average: the network made by `averaged_copy`.
      steps: integer scalar, the number of updates of `net`.
      decay: 0 to 1; the mean is over about 1 / (1 - decay) steps.
    """
    count = tf.cast(steps, tf.float32)
    rate = 1 - tf.minimum(decay, (1 + count) / (10 + count))
    for mean, weight in zip(average.variables, net.variables, strict=True):
        mean.assign_add(tf.cast(rate, mean.dtype) * (weight - mean))
