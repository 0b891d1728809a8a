"""Random numbers as a pure function of (seed, epoch, id, purpose, counter), for a whole batch at once.

A counter-based generator (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") with
MurmurHash3's 32-bit finalizer (Appleby 2011, fmix32) as its mixing function: uint32 operations only.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

WEYL = 0x9E3779B9  # 2^32 over the golden ratio: neighbouring counters land far apart


@dataclass(frozen=True)
class StatelessRandom:
    """Where the draws of a batch come from: the run's seed, the epoch (scalar), the examples' ids [B]."""

    seed: int
    epoch: tf.Tensor
    ids: tf.Tensor

    def uniform(self, purpose: str, count: int) -> tf.Tensor:
        """Float32 [B, count], multiples of 2^-24 in [0, 1); other purposes give independent numbers."""
        start = _u32((self.seed ^ zlib.crc32(purpose.encode())) & 0xFFFFFFFF)
        run = _mix(tf.cast(self.epoch, tf.uint32) ^ _mix(start))
        example = _mix(tf.cast(self.ids, tf.uint32) ^ run)
        counters = tf.constant(np.arange(1, count + 1, dtype=np.uint64) * WEYL % 2**32, tf.uint32)
        bits = tf.bitwise.right_shift(_mix(example[:, None] + counters), _u32(8))
        return tf.cast(tf.cast(bits, tf.int32), tf.float32) / 2**24

    def uniform_scalar(self, purpose: str) -> tf.Tensor:
        """One uniform number an example: float32 [B]."""
        return self.uniform(purpose, 1)[:, 0]

    def value_noise(self, purpose: str, size: int, cell: int) -> tf.Tensor:
        """Value noise, float32 [B, size, size] in [0, 1): linear between knots `cell` pixels apart.

        Values and weights are short binary fractions (`cell` is a power of two), so that every sum is exact
        and compiled code gives the same bits as plain code.
        """
        knots = -(-size // cell) + 1
        values = tf.floor(self.uniform(purpose, knots**2) * 256) / 256
        weights = tf.constant(_interpolation(size, cell), tf.float32)
        return tf.einsum("ij,bjk,lk->bil", weights, tf.reshape(values, [-1, knots, knots]), weights)


def value_noise_quantile(share: float, size: int, cell: int) -> float:
    """The value below which `share` of the pixels of `StatelessRandom.value_noise` lie."""
    weights = _interpolation(size, cell)
    values = np.random.default_rng(0).random((256, weights.shape[1], weights.shape[1]))
    return float(np.quantile(weights @ values @ weights.T, share))


def _interpolation(size: int, cell: int) -> np.ndarray:
    places = np.arange(size)[:, None] / cell
    return np.maximum(0, 1 - np.abs(places - np.arange(-(-size // cell) + 1)))


def _mix(x: tf.Tensor) -> tf.Tensor:
    x = (x ^ tf.bitwise.right_shift(x, _u32(16))) * _u32(0x85EBCA6B)
    x = (x ^ tf.bitwise.right_shift(x, _u32(13))) * _u32(0xC2B2AE35)
    return x ^ tf.bitwise.right_shift(x, _u32(16))


def _u32(value: int) -> tf.Tensor:
    return tf.constant(value, tf.uint32)
