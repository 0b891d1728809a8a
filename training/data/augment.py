"""Random changes to a batch, inside the compiled step: drawings as hands make them, not Canny.

Every draw is a function of (seed, epoch, id of the example): batches, replicas and resumes change nothing.
A setting at its neutral value adds no operation to the step.
"""

from __future__ import annotations

import tensorflow as tf

from training.config import AugmentConfig
from training.data.stateless_random import StatelessRandom, value_noise_quantile

WOBBLE_CELL, GAP_CELL, SHADE_CELL = 16, 8, 16  # pixels between the knots of each smooth noise


def augment(
    edges: tf.Tensor, labels: tf.Tensor, random: StatelessRandom, config: AugmentConfig
) -> tuple[tf.Tensor, tf.Tensor]:
    """Applies what `config` asks for: geometry to both, then the hand to the edges alone.

    Args:
      edges: float32 [B, S, S, 1] in {0, 1}; S is known.
      labels: integers [B, S, S].
      draws: decides everything random.

    Returns:
      Edges (in [0, 1] with `pencil`, else in {0, 1}) and labels of the same shapes.
    """
    if config.flip:
        edges, labels = flip(edges, labels, random.uniform_scalar("flip") < config.flip)
    if config.scale > 1:
        edges, labels = crop(edges, labels, random, config.scale, config.translate)
    if config.drop_specks:
        bound = tf.floor(random.uniform_scalar("drop_specks") * (config.drop_specks + 1))
        edges = drop_specks(edges, bound, config.drop_specks)
    if config.jitter:
        edges = jitter(edges, random, config.jitter)
    if config.gaps:
        edges = gaps(edges, random, config.gaps)
    if config.thickness and config.thickness_max > 1:
        edges = thicken(edges, random, config.thickness, config.thickness_max)
    if config.pencil:
        edges = pencil(edges, random, config.pencil)
    return edges, labels


def flip(edges: tf.Tensor, labels: tf.Tensor, chosen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mirrors the examples where `chosen`, bool [B], is true from left to right."""
    edges = tf.where(chosen[:, None, None, None], tf.reverse(edges, [2]), edges)
    labels = tf.where(chosen[:, None, None], tf.reverse(labels, [2]), labels)
    return edges, labels


def crop(
    edges: tf.Tensor, labels: tf.Tensor, random: StatelessRandom, scale: float, translate: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Enlarges a window by 1 to `scale`, its centre up to `translate` pixels away from the picture's.

    The window stays inside the picture, so no label is ever made up; and enlarging repeats pixels but
    skips none, so lines stay connected.
    """
    size = edges.shape[1]
    side = size / (1 + random.uniform_scalar("scale") * (scale - 1))
    slack = (size - side) / 2
    places = tf.range(size, dtype=tf.float32) + 0.5

    def sources(axis: str) -> tf.Tensor:
        shift = (2 * random.uniform_scalar(f"translate {axis}") - 1) * tf.minimum(slack, translate)
        found = (slack + shift)[:, None] + places * (side / size)[:, None]
        return tf.clip_by_value(tf.cast(found, tf.int32), 0, size - 1)

    rows, columns = sources("rows")[:, :, None], sources("columns")[:, None, :]
    return _take(edges[..., 0], rows, columns)[..., None], _take(labels, rows, columns)


def drop_specks(edges: tf.Tensor, bound: tf.Tensor, largest: int) -> tf.Tensor:
    """Removes exactly the 8-connected components of at most `bound` pixels.

    The largest pixel number spreads through each component for `largest` - 1 steps, enough to fill one of
    `largest` pixels. Where equal numbers touch no others they are a whole component, and can be counted;
    what has not settled is larger than the bound.

    Args:
      edges: float32 [B, S, S, 1] in {0, 1}. bound: float32 [B], each at most `largest`.
    """
    count, size = tf.shape(edges)[0], edges.shape[1]
    numbers = tf.reshape(tf.range(1, size**2 + 1, dtype=tf.float32), [1, size, size, 1])
    marks = numbers * edges
    for _ in range(largest - 1):
        marks = tf.nn.max_pool2d(marks, 3, 1, "SAME") * edges
    # Off the lines a number larger than all, so that the smallest neighbour is one on a line.
    lowest = -tf.nn.max_pool2d(-tf.where(edges > 0, marks, size**2 + 1.0), 3, 1, "SAME")
    unsettled = (tf.nn.max_pool2d(marks, 3, 1, "SAME") != lowest) & (edges > 0)
    pixels = tf.where(unsettled, largest + 1.0, edges)
    groups = tf.reshape(tf.cast(marks, tf.int32), [count, -1]) + (size**2 + 1) * tf.range(count)[:, None]
    areas = tf.math.unsorted_segment_sum(
        tf.reshape(pixels, [-1]), tf.reshape(groups, [-1]), count * (size**2 + 1)
    )
    area = tf.reshape(tf.gather(areas, groups), tf.shape(edges))
    return tf.where(area > bound[:, None, None, None], edges, 0.0)


def jitter(edges: tf.Tensor, random: StatelessRandom, pixels: float) -> tf.Tensor:
    """Makes lines wobble: moves them by a smooth field of at most `pixels`; the labels stay."""
    size = edges.shape[1]
    places = tf.range(size, dtype=tf.float32)

    def sources(axis: str, along: tf.Tensor) -> tf.Tensor:
        field = 2 * random.value_noise(f"jitter {axis}", size, WOBBLE_CELL) - 1
        return tf.clip_by_value(tf.cast(tf.round(along + pixels * field), tf.int32), 0, size - 1)

    rows, columns = sources("rows", places[:, None]), sources("columns", places[None, :])
    return _take(edges[..., 0], rows, columns)[..., None]


def gaps(edges: tf.Tensor, random: StatelessRandom, share: float) -> tf.Tensor:
    """Breaks lines: smooth blobs that cover this share of the paper, on average, are rubbed out."""
    size = edges.shape[1]
    noise = random.value_noise("gaps", size, GAP_CELL)
    return tf.where(noise[..., None] < value_noise_quantile(share, size, GAP_CELL), 0.0, edges)


def thicken(edges: tf.Tensor, random: StatelessRandom, probability: float, widest: int) -> tf.Tensor:
    """Draws some pictures with a broader pen: 2 to `widest` pixels more or less evenly."""
    chosen = random.uniform_scalar("thickness") < probability
    width = 2 + tf.floor(random.uniform_scalar("width") * (widest - 1))
    thick = edges
    for pixels in range(2, widest + 1):
        here = chosen & (width == pixels)
        thick = tf.where(here[:, None, None, None], tf.nn.max_pool2d(edges, pixels, 1, "SAME"), thick)
    return thick


def pencil(edges: tf.Tensor, random: StatelessRandom, strength: float) -> tf.Tensor:
    """Turns ink to pencil: soft borders, and a darkness that varies along the lines; in [0, 1].

    Each picture gets from 0 to `strength` of it.
    """
    kernel = tf.constant([1.0, 2.0, 1.0]) / 4
    soft = tf.nn.conv2d(edges, tf.reshape(kernel[:, None] * kernel, [3, 3, 1, 1]), 1, "SAME")
    amount = strength * random.uniform_scalar("pencil")[:, None, None, None]
    shade = random.value_noise("shade", edges.shape[1], SHADE_CELL)[..., None]
    return (edges + amount * (soft - edges)) * (1 - amount * shade)


def _take(pictures: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Pixels of [B, S, S] at rows and columns, both int32 and of shapes that broadcast to [B, S, S]."""
    size = pictures.shape[1]
    places = tf.reshape(rows * size + columns, [-1, size**2])
    taken = tf.gather(tf.reshape(pictures, [-1, size**2]), places, batch_dims=1)
    return tf.reshape(taken, [-1, size, size])
