"""Label maps in, colour hints out: the sparse strokes of a person who says what should be which colour.

One dataset serves both kinds of network: hints are drawn online, from the labels, inside the compiled step.
A hint is a stroke of a few pixels that starts anywhere and stays on its own label, drawn with a brush; as
with a person's, a wide brush reaches over borders. Zhang et al. 2017 ("Real-time user-guided image
colorization", section 3.1) simulate their users so, with dabs.
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
    """A random number of strokes for each example, and none at all for a share of them.

    Args:
      labels: integers [B, S, S]; S is known.

    Returns:
      int32 [B, S, S]: a hint's label + 1, or 0 where there is none.
    """
    share = random.uniform("hints", 3)
    # Log-uniform from 1 to `most`: a person gives three hints more often than sixty.
    count = tf.floor(tf.exp(share[:, 0] * float(np.log(config.most + 1))))
    count = tf.where(share[:, 1] < config.without, 0.0, count)
    lengths = tf.floor(random.uniform("hint lengths", config.most) * config.longest)
    strokes = _strokes(labels, random, count, lengths, config.most, config.longest)
    return _brushed(strokes, tf.cast(share[:, 2] * len(BRUSHES), tf.int32))


def simulate_point_hints(labels: tf.Tensor, random: StatelessRandom, count: int) -> tf.Tensor:
    """Exactly `count` dabs of 3×3 pixels an example, for evaluation; as `simulate_hints` otherwise."""
    shape = tf.shape(labels)[:1]
    counts, lengths = tf.fill(shape, float(count)), tf.zeros([shape[0], count])
    strokes = _strokes(labels, random, counts, lengths, count, 1)
    return _brushed(strokes, tf.ones(shape, tf.int32))


def append_hints(edges: tf.Tensor, hints: tf.Tensor | None, palette: Palette) -> tf.Tensor:
    """Puts hints' channels, or for None empty ones, beside the edges: float32 [B, S, S, 1 + 4]."""
    if hints is None:
        return tf.pad(edges, [[0, 0], [0, 0], [0, 0], [0, HINT_CHANNELS]])
    return tf.concat([edges, hint_channels(hints, palette)], axis=-1)


def hint_channels(hints: tf.Tensor, palette: Palette) -> tf.Tensor:
    """What the network sees of hints as `simulate_hints` gives them: float32 [B, S, S, 4]."""
    return tf.gather(tf.constant(hint_table(palette)), hints)


def _strokes(
    labels: tf.Tensor, random: StatelessRandom, count: tf.Tensor, lengths: tf.Tensor, most: int, longest: int
) -> tf.Tensor:
    """One-pixel lines from random places in one of eight directions, as long as the label stays the same.

    Args:
      count: float [B], how many of the `most` places are used.
      lengths: float [B, most], pixels beyond the first, 0 to `longest` - 1.

    Returns:
      int32 [B, S, S], label + 1 or 0.
    """
    size = labels.shape[1]
    labels = tf.cast(labels, tf.int32)
    if most == 0:
        return tf.zeros_like(labels)
    place = tf.cast(tf.reshape(random.uniform("hint places", 2 * most), [-1, most, 1, 2]) * size, tf.int32)
    turn = tf.cast(random.uniform("hint directions", most) * len(_DIRECTIONS), tf.int32)
    step = tf.range(longest)
    way = place + tf.gather(tf.constant(_DIRECTIONS), turn)[:, :, None] * step[None, None, :, None]
    inside = tf.reduce_all((way >= 0) & (way < size), axis=-1)
    pixel = tf.clip_by_value(way[..., 0] * size + way[..., 1], 0, size * size - 1)  # [B, most, longest]
    seen = tf.gather(tf.reshape(labels, [-1, size * size]), pixel, batch_dims=1)
    used = (tf.range(float(most))[None] < count[:, None])[..., None]
    # The pixels of one label may lie apart: a stroke ends where it first meets another label or the border.
    same = tf.math.cumprod(tf.cast(inside & (seen == seen[:, :, :1]), tf.int32), axis=-1) == 1
    drawn = same & used & (tf.cast(step, tf.float32) <= lengths[..., None])
    examples = tf.shape(labels)[0]
    targets = pixel + tf.range(examples)[:, None, None] * size * size
    marks = tf.math.unsorted_segment_max(
        tf.reshape(tf.where(drawn, seen + 1, 0), [-1]), tf.reshape(targets, [-1]), examples * size * size
    )
    return tf.reshape(tf.maximum(marks, 0), [-1, size, size])  # without any mark: the least integer


def _brushed(strokes: tf.Tensor, brush: tf.Tensor) -> tf.Tensor:
    """Widens strokes to each example's brush, an index of `BRUSHES` [B]; the larger label lies on top."""
    marks = tf.cast(strokes, tf.float32)[..., None]
    widened = [marks if width == 1 else tf.nn.max_pool2d(marks, width, 1, "SAME") for width in BRUSHES]
    chosen = widened[0]
    for index in range(1, len(BRUSHES)):
        chosen = tf.where((brush == index)[:, None, None, None], widened[index], chosen)
    return tf.cast(chosen[..., 0], tf.int32)
