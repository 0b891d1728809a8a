"""Makes references from label maps, inside the compiled step: how much of each colour a picture has.

When colouring, a reference is the histogram of any picture, or weights of a few picked colours. So in
training the histogram of the example itself is made vague: reduced to a few colours, blurred, mixed with
other colours, or left out.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfrecords_schema import Manifest
from training.config import ReferenceConfig
from training.data.stateless_random import StatelessRandom
from training.metrics.losses import neighbour_targets

FEWEST_COLORS, MOST_COLORS = 2, 8  # of a thinned reference
BLUR_SIGMA = 0.08  # in units of OKLab, about the distance of two neighbouring colours of the palettes
TINY = 1e-6


def label_fractions(labels: tf.Tensor, colors: int) -> tf.Tensor:
    """Returns the fraction of the pixels that each label has: float32 [B, K].

    Args:
      labels: integers [B, S, S].
      colors: K.
    """
    labels = tf.cast(tf.reshape(labels, [tf.shape(labels)[0], -1]), tf.int32)
    bins = labels + colors * tf.range(tf.shape(labels)[0])[:, None]
    counts = tf.math.unsorted_segment_sum(tf.ones_like(bins, tf.float32), bins, tf.shape(labels)[0] * colors)
    return _normalize(tf.reshape(counts, [-1, colors]))


def commonest_colors(fractions: tf.Tensor, count: int) -> tf.Tensor:
    """Returns equal weights of the `count` commonest colours, as a person picks colours: float32 [B, K]."""
    values, labels = tf.math.top_k(fractions, min(count, fractions.shape[-1]))
    present = tf.cast(values > 0, tf.float32)
    return _normalize(tf.reduce_sum(tf.one_hot(labels, fractions.shape[-1]) * present[..., None], axis=1))


def simulate_reference(
    labels: tf.Tensor, random: StatelessRandom, config: ReferenceConfig, manifest: Manifest
) -> tf.Tensor:
    """Makes a vague reference for each example, and none for a fraction of the examples.

    Args:
      labels: integers [B, S, S].
      random: source of random numbers for the examples.
      config: how vague the references are.
      manifest: the palette, and the frequencies of its colours in the dataset.

    Returns:
      float32 [B, K], which adds up to 1 for each example, or zeros for no reference.
    """
    colors = len(manifest.palette)
    fractions = label_fractions(labels, colors)
    uniform = random.uniform("reference", 6)
    blurred = fractions @ tf.constant(neighbour_targets(manifest.palette.rgb, BLUR_SIGMA))
    fractions = _mix(fractions, blurred, _of_some(uniform[:, 0]) * config.blurred)
    others = _random_colors(random, manifest)
    fractions = _mix(fractions, others, _of_some(uniform[:, 1]) * config.mixed)
    count = FEWEST_COLORS + tf.floor(uniform[:, 2] * (MOST_COLORS - FEWEST_COLORS + 1))
    # Towards equal weights, since a person picks colours but not their areas.
    thinned = _thin(fractions, random, count)
    thinned = tf.where(thinned > 0, thinned ** uniform[:, 3, None], 0.0)
    is_thinned = (uniform[:, 4] < config.thinned)[:, None]
    reference = tf.where(is_thinned, _normalize(thinned), fractions)
    return tf.where((uniform[:, 5] < config.without)[:, None], 0.0, reference)


def _random_colors(random: StatelessRandom, manifest: Manifest) -> tf.Tensor:
    """Draws colours for each example, common colours of the dataset with more weight: float32 [B, K].

    Weights p / e with e exponential are so uneven that a few colours dominate, as in a picture. Histograms of
    other pictures of the batch would depend on how examples are split among replicas.
    """
    histogram = np.asarray(manifest.splits["train"].label_histogram, np.float64)
    uniform = random.uniform("reference colors", len(histogram))
    return _normalize(tf.constant(histogram / histogram.sum(), tf.float32) / _exponential(uniform))


def _thin(fractions: tf.Tensor, random: StatelessRandom, count: tf.Tensor) -> tf.Tensor:
    """Keeps `count` [B] colours of each example, drawn without replacement: likelier the more they have.

    The colours with the largest p / e, e exponential, are such a sample (Efraimidis and Spirakis 2006,
    "Weighted random sampling with a reservoir").
    """
    colors = fractions.shape[-1]
    scores = fractions / _exponential(random.uniform("reference picks", colors))
    ranked = tf.math.top_k(scores, min(MOST_COLORS, colors)).values
    last = tf.gather(ranked, tf.minimum(tf.cast(count, tf.int32), ranked.shape[-1]) - 1, batch_dims=1)
    return tf.where(scores >= last[:, None], fractions, 0.0)


def _exponential(uniform: tf.Tensor) -> tf.Tensor:
    return TINY - tf.math.log1p(-uniform)


def _of_some(uniform: tf.Tensor) -> tf.Tensor:
    """Keeps a third of some uniform numbers, spread over 0 to 1, and makes the others 0.

    The network must see exact references, too: from them it learns which colours a picture does not have.
    """
    return tf.nn.relu(3 * uniform - 2)


def _mix(first: tf.Tensor, second: tf.Tensor, fraction: tf.Tensor) -> tf.Tensor:
    return first + fraction[:, None] * (second - first)


def _normalize(weights: tf.Tensor) -> tf.Tensor:
    return weights / tf.reduce_sum(weights, axis=-1, keepdims=True)
