"""What several networks are made of."""

from __future__ import annotations

from collections.abc import Iterator

import keras
from keras import ops


def coordinate_channels(x: keras.KerasTensor) -> keras.KerasTensor:
    """Two channels: how far down and right, from -1 to 1, whatever the size (CoordConv, Liu et al. 2018)."""
    ones = ops.ones_like(x[..., :1])
    axes = []
    for axis in (1, 2):
        count = ops.cumsum(ones, axis=axis)
        axes.append((2 * count - 1) / ops.max(count, axis=axis, keepdims=True) - 1)
    return ops.concatenate(axes, axis=-1)


def he_normal(seeds: Iterator[int]) -> keras.initializers.Initializer:
    """He et al. 2015, for layers before a ReLU or its like."""
    return keras.initializers.HeNormal(seed=next(seeds))


def glorot_uniform(seeds: Iterator[int]) -> keras.initializers.Initializer:
    """Glorot & Bengio 2010, Keras's own default, but with a seed that is an argument."""
    return keras.initializers.GlorotUniform(seed=next(seeds))
