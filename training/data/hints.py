"""Simulates colour hints from label maps, inside the compiled step.

A hint is a colour that a person gives; its shape is a stroke. Simulated strokes start at random pixels, run
straight along one label, and are widened to the width of a brush, which may reach over borders as a person's
brush does. One dataset serves networks with and without hints, because hints are made from its labels. Zhang
et al. 2017 ("Real-time user-guided image colorization with learned deep priors", section 3.1) simulate users
in a similar way, with points instead of strokes.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfrecords_schema import Palette
from training.config import HintsConfig
from training.data.stateless_random import StatelessRandom
from training.metrics.color_spaces import HINT_CHANNELS, hint_table

BRUSHES = (1, 3, 5)  # widths in pixels
_DIRECTIONS = np.array([(0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1)], np.int32)


def simulate_hints(labels: tf.Tensor, random: StatelessRandom, config: HintsConfig) -> tf.Tensor:
    """Draws a random number of strokes for each example, and none for a fraction of the examples.

    Args:
      labels: integers [B, S, S]; S is known.
      random: source of random numbers for the examples.
      config: number and length of the strokes.

    Returns:
      int32 [B, S, S]: the label of a hint + 1, or 0 where there is no hint.
    """
    uniform = random.uniform("hints", 3)
    # Log-uniform, because a person gives three hints more often than sixty.
    count = tf.floor(tf.exp(uniform[:, 0] * float(np.log(config.most + 1))))
    count = tf.where(uniform[:, 1] < config.without, 0.0, count)
    lengths = tf.floor(random.uniform("hint lengths", config.most) * config.longest)
    strokes = _draw_strokes(labels, random, count, lengths, config.most, config.longest)
    return _widen(strokes, tf.cast(uniform[:, 2] * len(BRUSHES), tf.int32))


def simulate_point_hints(labels: tf.Tensor, random: StatelessRandom, count: int) -> tf.Tensor:
    """Draws exactly `count` points of 3 × 3 pixels per example, for evaluation.

    Arguments and result are otherwise those of `simulate_hints`.
    """
    shape = tf.shape(labels)[:1]
    counts, lengths = tf.fill(shape, float(count)), tf.zeros([shape[0], count])
    strokes = _draw_strokes(labels, random, counts, lengths, count, 1)
    return _widen(strokes, tf.ones(shape, tf.int32))


def append_hints(edges: tf.Tensor, hints: tf.Tensor | None, palette: Palette) -> tf.Tensor:
    """Appends the channels of the hints to the edges; the channels are empty if `hints` is None.

    Args:
      edges: float32 [B, S, S, 1].
      hints: int32 [B, S, S], as `simulate_hints` returns them.
      palette: the colours of the labels.

    Returns:
      float32 [B, S, S, 1 + 4].
    """
    if hints is None:
        return tf.pad(edges, [[0, 0], [0, 0], [0, 0], [0, HINT_CHANNELS]])
    return tf.concat([edges, hint_channels(hints, palette)], axis=-1)


def hint_channels(hints: tf.Tensor, palette: Palette) -> tf.Tensor:
    """Converts hints, as `simulate_hints` returns them, to a network's input channels: float32 [B, S, S, 4].

    The channels are red, green and blue from 0 to 1, and a mask that is 1 where there is a hint.
    """
    return tf.gather(tf.constant(hint_table(palette)), hints)


def _draw_strokes(
    labels: tf.Tensor,
    random: StatelessRandom,
    count: tf.Tensor,
    lengths: tf.Tensor,
    max_strokes: int,
    max_length: int,
) -> tf.Tensor:
    """Draws strokes of one pixel's width in random directions, each as far as its label reaches.

    Args:
      labels: integers [B, S, S].
      random: source of random numbers for the examples.
      count: float [B], number of strokes of each example, at most `max_strokes`.
      lengths: float [B, max_strokes], pixels beyond the first, from 0 to `max_length` - 1.

    Returns:
      int32 [B, S, S], label + 1 or 0.
    """
    size = labels.shape[1]
    labels = tf.cast(labels, tf.int32)
    if max_strokes == 0:
        return tf.zeros_like(labels)
    start = tf.reshape(random.uniform("hint places", 2 * max_strokes), [-1, max_strokes, 1, 2])
    start = tf.cast(start * size, tf.int32)
    direction = tf.cast(random.uniform("hint directions", max_strokes) * len(_DIRECTIONS), tf.int32)
    step = tf.range(max_length)
    path = start + tf.gather(tf.constant(_DIRECTIONS), direction)[:, :, None] * step[None, None, :, None]
    inside = tf.reduce_all((path >= 0) & (path < size), axis=-1)
    pixel = tf.clip_by_value(path[..., 0] * size + path[..., 1], 0, size * size - 1)
    path_labels = tf.gather(tf.reshape(labels, [-1, size * size]), pixel, batch_dims=1)  # [B, strokes, steps]
    used = (tf.range(float(max_strokes))[None] < count[:, None])[..., None]
    # A stroke ends at the first other label or at the border, even if its own label comes again behind.
    same = tf.math.cumprod(tf.cast(inside & (path_labels == path_labels[:, :, :1]), tf.int32), axis=-1) == 1
    drawn = same & used & (tf.cast(step, tf.float32) <= lengths[..., None])
    examples = tf.shape(labels)[0]
    targets = pixel + tf.range(examples)[:, None, None] * size * size
    marks = tf.math.unsorted_segment_max(
        tf.reshape(tf.where(drawn, path_labels + 1, 0), [-1]),
        tf.reshape(targets, [-1]),
        examples * size * size,
    )
    # `unsorted_segment_max` gives the smallest integer where there is no mark.
    return tf.reshape(tf.maximum(marks, 0), [-1, size, size])


def _widen(strokes: tf.Tensor, brush: tf.Tensor) -> tf.Tensor:
    """Widens strokes with each example's brush, an index into `BRUSHES`, int32 [B].

    Where strokes overlap, the larger label wins.
    """
    marks = tf.cast(strokes, tf.float32)[..., None]
    widened = [marks if width == 1 else tf.nn.max_pool2d(marks, width, 1, "SAME") for width in BRUSHES]
    selected = widened[0]
    for index in range(1, len(BRUSHES)):
        selected = tf.where((brush == index)[:, None, None, None], widened[index], selected)
    return tf.cast(selected[..., 0], tf.int32)
