"""Random augmentation inside the compiled step: flips, crops, and edges that look drawn by hand.

All random numbers are a function of (seed, epoch, example id), so that batches, replicas and resuming change
nothing. An augmentation that is switched off adds no operation to the step.
"""

from __future__ import annotations

import tensorflow as tf

from training.config import AugmentConfig
from training.data.stateless_random import StatelessRandom, value_noise_quantile

WOBBLE_CELL, GAP_CELL, SHADE_CELL = 16, 8, 16  # pixels between the nodes of each value noise


def augment(
    edges: tf.Tensor, labels: tf.Tensor, random: StatelessRandom, config: AugmentConfig
) -> tuple[tf.Tensor, tf.Tensor]:
    """Applies the augmentations that `config` switches on: geometry to both, the others to the edges alone.

    Args:
      edges: float32 [B, S, S, 1] in {0, 1}; S is known.
      labels: integers [B, S, S].
      random: source of random numbers for the examples.
      config: which augmentations are applied, and how strongly.

    Returns:
      Edges (in [0, 1] with `pencil`, else in {0, 1}) and labels of the same shapes.
    """
    if config.flip:
        edges, labels = flip(edges, labels, random.uniform_scalar("flip") < config.flip)
    if config.scale > 1:
        edges, labels = crop(edges, labels, random, config.scale, config.translate)
    if config.drop_specks:
        max_pixels = tf.floor(random.uniform_scalar("drop_specks") * (config.drop_specks + 1))
        edges = drop_specks(edges, max_pixels, config.drop_specks)
    if config.jitter:
        edges = jitter(edges, random, config.jitter)
    if config.gaps:
        edges = gaps(edges, random, config.gaps)
    if config.thickness and config.thickness_max > 1:
        edges = thicken(edges, random, config.thickness, config.thickness_max)
    if config.pencil:
        edges = pencil(edges, random, config.pencil)
    return edges, labels


def flip(edges: tf.Tensor, labels: tf.Tensor, flipped: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mirrors the examples from left to right where `flipped`, bool [B], is true."""
    edges = tf.where(flipped[:, None, None, None], tf.reverse(edges, [2]), edges)
    labels = tf.where(flipped[:, None, None], tf.reverse(labels, [2]), labels)
    return edges, labels


def crop(
    edges: tf.Tensor, labels: tf.Tensor, random: StatelessRandom, scale: float, translate: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Enlarges a random square window of each image to the size of the image.

    The window is inside the image, so that no label has to be invented. Enlarging repeats pixels but never
    skips one, so that lines stay connected.

    Args:
      edges: float32 [B, S, S, 1].
      labels: integers [B, S, S].
      random: source of random numbers for the examples.
      scale: largest factor; the factor is uniform from 1 to this.
      translate: largest distance of the window's centre from the image's centre, in pixels along each axis.
    """
    size = edges.shape[1]
    side = size / (1 + random.uniform_scalar("scale") * (scale - 1))
    margin = (size - side) / 2
    centers = tf.range(size, dtype=tf.float32) + 0.5

    def source_pixels(axis: str) -> tf.Tensor:
        shift = (2 * random.uniform_scalar(f"translate {axis}") - 1) * tf.minimum(margin, translate)
        positions = (margin + shift)[:, None] + centers * (side / size)[:, None]
        return tf.clip_by_value(tf.cast(positions, tf.int32), 0, size - 1)

    rows, columns = source_pixels("rows")[:, :, None], source_pixels("columns")[:, None, :]
    return _take(edges[..., 0], rows, columns)[..., None], _take(labels, rows, columns)


def drop_specks(edges: tf.Tensor, max_pixels: tf.Tensor, limit: int) -> tf.Tensor:
    """Removes the 8-connected components of at most `max_pixels` pixels, and no others.

    The largest pixel number spreads through each component for `limit` - 1 steps, enough to fill a component
    of `limit` pixels. A component in which all numbers are equal is complete, and its pixels are counted. Any
    other component has more than `limit` pixels.

    Args:
      edges: float32 [B, S, S, 1] in {0, 1}.
      max_pixels: float32 [B], each at most `limit`.
      limit: number of pixels up to which components are recognized.
    """
    count, size = tf.shape(edges)[0], edges.shape[1]
    numbers = tf.reshape(tf.range(1, size**2 + 1, dtype=tf.float32), [1, size, size, 1])
    marks = numbers * edges
    for _ in range(limit - 1):
        marks = tf.nn.max_pool2d(marks, 3, 1, "SAME") * edges
    # Paper gets a number above all others, so that the smallest neighbour is always on a line.
    lowest = -tf.nn.max_pool2d(-tf.where(edges > 0, marks, size**2 + 1.0), 3, 1, "SAME")
    incomplete = (tf.nn.max_pool2d(marks, 3, 1, "SAME") != lowest) & (edges > 0)
    pixels = tf.where(incomplete, limit + 1.0, edges)
    components = tf.reshape(tf.cast(marks, tf.int32), [count, -1]) + (size**2 + 1) * tf.range(count)[:, None]
    areas = tf.math.unsorted_segment_sum(
        tf.reshape(pixels, [-1]), tf.reshape(components, [-1]), count * (size**2 + 1)
    )
    area = tf.reshape(tf.gather(areas, components), tf.shape(edges))
    return tf.where(area > max_pixels[:, None, None, None], edges, 0.0)


def jitter(edges: tf.Tensor, random: StatelessRandom, pixels: float) -> tf.Tensor:
    """Displaces lines smoothly by up to `pixels` along each axis, as an unsteady hand does."""
    size = edges.shape[1]
    positions = tf.range(size, dtype=tf.float32)

    def source_pixels(axis: str, along: tf.Tensor) -> tf.Tensor:
        noise = 2 * random.value_noise(f"jitter {axis}", size, WOBBLE_CELL) - 1
        return tf.clip_by_value(tf.cast(tf.round(along + pixels * noise), tf.int32), 0, size - 1)

    rows = source_pixels("rows", positions[:, None])
    columns = source_pixels("columns", positions[None, :])
    return _take(edges[..., 0], rows, columns)[..., None]


def gaps(edges: tf.Tensor, random: StatelessRandom, fraction: float) -> tf.Tensor:
    """Erases smooth blobs that cover `fraction` of the image on average, so that lines have gaps."""
    size = edges.shape[1]
    noise = random.value_noise("gaps", size, GAP_CELL)
    return tf.where(noise[..., None] < value_noise_quantile(fraction, size, GAP_CELL), 0.0, edges)


def thicken(edges: tf.Tensor, random: StatelessRandom, probability: float, max_width: int) -> tf.Tensor:
    """Widens the lines of some examples to 2 to `max_width` pixels; the wider, the rarer."""
    chosen = random.uniform_scalar("thickness") < probability
    width = 2 + tf.floor(random.uniform_scalar("width") ** 2 * (max_width - 1))
    thick = edges
    for pixels in range(2, max_width + 1):
        selected = chosen & (width == pixels)
        thick = tf.where(selected[:, None, None, None], tf.nn.max_pool2d(edges, pixels, 1, "SAME"), thick)
    return thick


def pencil(edges: tf.Tensor, random: StatelessRandom, max_strength: float) -> tf.Tensor:
    """Makes ink look like pencil: soft borders, and a darkness that varies along the lines.

    The strength is uniform from 0 to `max_strength` for each example.

    Returns:
      float32 [B, S, S, 1] in [0, 1].
    """
    kernel = tf.constant([1.0, 2.0, 1.0]) / 4
    soft = tf.nn.conv2d(edges, tf.reshape(kernel[:, None] * kernel, [3, 3, 1, 1]), 1, "SAME")
    strength = max_strength * random.uniform_scalar("pencil")[:, None, None, None]
    shade = random.value_noise("shade", edges.shape[1], SHADE_CELL)[..., None]
    return (edges + strength * (soft - edges)) * (1 - strength * shade)


def _take(images: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Takes pixels of [B, S, S] at rows and columns, int32 of shapes that broadcast to [B, S, S]."""
    size = images.shape[1]
    indices = tf.reshape(rows * size + columns, [-1, size**2])
    taken = tf.gather(tf.reshape(images, [-1, size**2]), indices, batch_dims=1)
    return tf.reshape(taken, [-1, size, size])
