"""Layers and initializers that several networks use."""

from __future__ import annotations

from collections.abc import Iterator

import keras
from keras import ops


def coordinate_channels(x: keras.KerasTensor) -> keras.KerasTensor:
    """Returns the coordinates of each pixel as two channels, like those of CoordConv (Liu et al. 2018).

    Args:
      x: [B, H, W, C] of any size; only its shape and dtype are used.

    Returns:
      [B, H, W, 2]: vertical and horizontal position between -1 and 1.
    """
    ones = ops.ones_like(x[..., :1])
    axes = []
    for axis in (1, 2):
        count = ops.cumsum(ones, axis=axis)
        axes.append((2 * count - 1) / ops.max(count, axis=axis, keepdims=True) - 1)
    return ops.concatenate(axes, axis=-1)


def he_normal(seeds: Iterator[int]) -> keras.initializers.Initializer:
    """Returns the initializer of He et al. 2015, for layers before a ReLU or SiLU, with the next seed."""
    return keras.initializers.HeNormal(seed=next(seeds))


def glorot_uniform(seeds: Iterator[int]) -> keras.initializers.Initializer:
    """Returns the initializer of Glorot & Bengio 2010, for all other layers, with the next seed."""
    return keras.initializers.GlorotUniform(seed=next(seeds))
