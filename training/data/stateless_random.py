"""Random numbers as a function of (seed, epoch, example id, purpose, counter), for a whole batch at once.

They do not depend on batch size, order, replicas or resuming. The generator is counter-based (Salmon et al.
2011, "Parallel random numbers: as easy as 1, 2, 3") and mixes with the 32-bit finalizer of MurmurHash3
(Appleby 2011, fmix32); it uses uint32 operations only.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

WEYL = 0x9E3779B9  # 2^32 / golden ratio: maps consecutive counters to values far apart


@dataclass(frozen=True)
class StatelessRandom:
    """A source of random numbers for the examples of a batch.

    Attributes:
      seed: the seed of the run.
      epoch: the number of the epoch, an integer scalar.
      ids: ids of the examples, int32 [B].
    """

    seed: int
    epoch: tf.Tensor
    ids: tf.Tensor

    def uniform(self, purpose: str, count: int) -> tf.Tensor:
        """Returns `count` uniform numbers per example.

        Args:
          purpose: any name; different names give independent numbers, the same name the same numbers.
          count: numbers per example.

        Returns:
          float32 [B, count], multiples of 2^-24 in [0, 1).
        """
        purpose_bits = _u32((self.seed ^ zlib.crc32(purpose.encode())) & 0xFFFFFFFF)
        epoch_bits = _mix(tf.cast(self.epoch, tf.uint32) ^ _mix(purpose_bits))
        example_bits = _mix(tf.cast(self.ids, tf.uint32) ^ epoch_bits)
        counters = tf.constant(np.arange(1, count + 1, dtype=np.uint64) * WEYL % 2**32, tf.uint32)
        bits = tf.bitwise.right_shift(_mix(example_bits[:, None] + counters), _u32(8))
        return tf.cast(tf.cast(bits, tf.int32), tf.float32) / 2**24

    def uniform_scalar(self, purpose: str) -> tf.Tensor:
        """Returns one uniform number per example: float32 [B] in [0, 1)."""
        return self.uniform(purpose, 1)[:, 0]

    def value_noise(self, purpose: str, size: int, cell: int) -> tf.Tensor:
        """Returns value noise: uniform values at the nodes of a grid, interpolated linearly between them.

        Values and weights are short binary fractions, so that every sum is exact and XLA gives the same bits
        as uncompiled code.

        Args:
          purpose: as for `uniform`.
          size: side of the images in pixels.
          cell: distance of the grid's nodes in pixels, a power of two.

        Returns:
          float32 [B, size, size] in [0, 1).
        """
        nodes = -(-size // cell) + 1
        values = tf.floor(self.uniform(purpose, nodes**2) * 256) / 256
        weights = tf.constant(_interpolation_weights(size, cell), tf.float32)
        return tf.einsum("ij,bjk,lk->bil", weights, tf.reshape(values, [-1, nodes, nodes]), weights)


def value_noise_quantile(fraction: float, size: int, cell: int) -> float:
    """Returns the value below which `fraction` of the pixels of `StatelessRandom.value_noise` are."""
    weights = _interpolation_weights(size, cell)
    values = np.random.default_rng(0).random((256, weights.shape[1], weights.shape[1]))
    return float(np.quantile(weights @ values @ weights.T, fraction))


def _interpolation_weights(size: int, cell: int) -> np.ndarray:
    """Returns the weight of each node for each pixel of a row: float64 [size, nodes]."""
    positions = np.arange(size)[:, None] / cell
    return np.maximum(0, 1 - np.abs(positions - np.arange(-(-size // cell) + 1)))


def _mix(x: tf.Tensor) -> tf.Tensor:
    x = (x ^ tf.bitwise.right_shift(x, _u32(16))) * _u32(0x85EBCA6B)
    x = (x ^ tf.bitwise.right_shift(x, _u32(13))) * _u32(0xC2B2AE35)
    return x ^ tf.bitwise.right_shift(x, _u32(16))


def _u32(value: int) -> tf.Tensor:
    return tf.constant(value, tf.uint32)
