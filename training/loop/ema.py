"""The mean of the weights over the last steps: steadier than the weights themselves."""

from __future__ import annotations

import keras
import tensorflow as tf


def averaged_copy(net: keras.Model) -> keras.Model:
    """A network of the same layers, names and weights whose variables are its own."""
    copy = keras.models.clone_model(net)
    copy.set_weights(net.get_weights())
    return copy


def update_averages(copy: keras.Model, net: keras.Model, steps: tf.Tensor, decay: float) -> None:
    """Moves all variables of `copy` towards those of `net`, running statistics as well.

    mean = d mean + (1 - d) weight with d = min(decay, (1 + steps) / (10 + steps)): the exponential moving
    average of Polyak & Juditsky's idea (1992), which at first looks back no further than the run goes.

    Args:
      steps: integer scalar, how many updates the network has had.
      decay: 0 to 1; the mean is over some 1 / (1 - decay) steps.
    """
    done = tf.cast(steps, tf.float32)
    share = 1 - tf.minimum(decay, (1 + done) / (10 + done))
    for mean, weight in zip(copy.variables, net.variables, strict=True):
        mean.assign_add(tf.cast(share, mean.dtype) * (weight - mean))
