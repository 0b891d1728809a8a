"""The reported loss (cross-entropy) and the loss that training minimizes, both in float32.

The training loss may weight colours and soften targets. The reported loss is always the plain cross-entropy,
so that runs with different training losses can be compared. There is no focal loss (Lin et al. 2017): it is
made for detectors, whose easy negatives outnumber all others a thousandfold. Class weights serve rare
colours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

import tfrecords_schema as schema
from training.config import LossConfig
from training.metrics.color_spaces import to_oklab

# Keras clips probabilities to this before it takes their logarithm (keras.config.epsilon()).
EPSILON = 1e-7


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns the mean over pixels of log Σ exp(z) - z_label, in nats.

    Args:
      logits: float [B, H, W, K].
      labels: integers [B, H, W] in 0..K-1.
    """
    logits = tf.cast(logits, tf.float32)
    return tf.reduce_mean(tf.reduce_logsumexp(logits, axis=-1) - _logit_of_label(logits, labels))


@dataclass(frozen=True, eq=False)
class TrainingLoss:
    """The loss that training minimizes: the mean over pixels of w_label (log Σ exp(z) - Σ q z).

    The targets are q = (1 - ε) T_label + ε / K.

    Attributes:
      smoothing: ε, label smoothing (Szegedy et al. 2016).
      weights: w, float32 [K]; None for weights of 1.
      neighbours: T, float32 [K, K], one row of targets per label; None for the identity.
    """

    smoothing: float
    weights: np.ndarray | None
    neighbours: np.ndarray | None

    @classmethod
    def from_config(cls, config: LossConfig, manifest: schema.Manifest) -> TrainingLoss:
        """Creates the loss for the palette and the colour frequencies of the training split."""
        weights = neighbours = None
        if config.uniform_share < 1:
            weights = class_weights(manifest.splits["train"].label_histogram, config.uniform_share)
        if config.neighbour_sigma:
            neighbours = neighbour_targets(manifest.palette.rgb, config.neighbour_sigma)
        return cls(config.label_smoothing, weights, neighbours)

    @property
    def is_cross_entropy(self) -> bool:
        """Whether the loss equals `cross_entropy`."""
        return not self.smoothing and self.weights is None and self.neighbours is None

    def __call__(self, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Returns the loss, a float32 scalar; the arguments are those of `cross_entropy`."""
        logits, labels = tf.cast(logits, tf.float32), tf.cast(labels, tf.int32)
        if self.neighbours is None:
            target_logits = _logit_of_label(logits, labels)
        else:
            target_logits = tf.reduce_sum(logits * tf.gather(self.neighbours, labels), axis=-1)
        if self.smoothing:
            uniform = tf.reduce_mean(logits, axis=-1)
            target_logits = (1 - self.smoothing) * target_logits + self.smoothing * uniform
        losses = tf.reduce_logsumexp(logits, axis=-1) - target_logits
        return tf.reduce_mean(losses if self.weights is None else losses * tf.gather(self.weights, labels))


def class_weights(histogram: list[int], uniform_fraction: float) -> np.ndarray:
    """Returns weights that are larger for rare colours: w ∝ 1 / ((1 - λ) p + λ / K).

    Source: Zhang, Isola, Efros, "Colorful image colorization" (2016), section 2.2, equation 4. They smooth p
    over similar colours first, because their grid has hundreds of colours.

    Args:
      histogram: number of pixels of each label, [K], with at least one pixel.
      uniform_fraction: λ, above 0, up to 1. It bounds the weight of a colour that never occurs.

    Returns:
      float32 [K], scaled so that the mean weight of a pixel is 1: Σ p w = 1.
    """
    frequencies = np.asarray(histogram, np.float64) / np.sum(histogram, dtype=np.float64)
    weights = 1 / ((1 - uniform_fraction) * frequencies + uniform_fraction / len(frequencies))
    return (weights / (frequencies @ weights)).astype(np.float32)


def neighbour_targets(rgb: np.ndarray, sigma: float) -> np.ndarray:
    """Returns soft targets that include similar colours: rows ∝ exp(-d² / 2σ²), d the distance in OKLab.

    Args:
      rgb: the palette, uint8 [K, 3].
      sigma: σ, above 0, in units of OKLab (the distance from black to white is 1).

    Returns:
      float32 [K, K]; row i is the target of label i and adds up to 1.
    """
    lab = to_oklab(rgb)
    similarity = np.exp(-((lab[:, None] - lab[None]) ** 2).sum(-1) / (2 * sigma**2))
    return (similarity / similarity.sum(1, keepdims=True)).astype(np.float32)


def to_logits(outputs: tf.Tensor, gives_logits: bool) -> tf.Tensor:
    """Returns logits unchanged, and converts the scores of the article's network to logits.

    The article's network ends in a batch normalization, so that its outputs are no probabilities: some are
    negative, and they do not add up to 1. Keras trains such a network nevertheless, because its cross-entropy
    clips its inputs to [1e-7, 1 - 1e-7] and divides them by their sum. That is softmax(log(clip(scores))),
    and this function reproduces it: scores outside the range get no gradient. Use `article_logits` for a
    network without this defect.

    Args:
      outputs: float [B, H, W, K].
      gives_logits: whether `outputs` are logits.
    """
    if gives_logits:
        return outputs
    return tf.math.log(tf.clip_by_value(tf.cast(outputs, tf.float32), EPSILON, 1 - EPSILON))


def _logit_of_label(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    # A one-hot sum instead of a gather: its gradient needs no scatter, and XLA fuses it into one pass.
    return tf.reduce_sum(logits * tf.one_hot(tf.cast(labels, tf.int32), logits.shape[-1]), axis=-1)
