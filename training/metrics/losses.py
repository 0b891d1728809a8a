"""What is reported (cross-entropy) and what is trained on (the objective), both in float32.

The objective may weigh colours and soften targets. What is reported stays the plain cross-entropy, so that
runs with different objectives compare. There is no focal loss: it serves detectors whose easy negatives
outnumber all else a thousandfold (Lin et al. 2017); for rare colours the class weights are the remedy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

import tfrecords_schema as schema
from training.config import LossConfig
from training.metrics.color_spaces import to_oklab

# Where Keras clips probabilities before taking their logarithm (keras.config.epsilon()).
EPSILON = 1e-7


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """The mean over pixels of log Σ exp(z) - z_label, in nats.

    Args:
      logits: float [B, H, W, K].
      labels: integers [B, H, W] in 0..K-1.
    """
    logits = tf.cast(logits, tf.float32)
    return tf.reduce_mean(tf.reduce_logsumexp(logits, axis=-1) - _at_label(logits, labels))


@dataclass(frozen=True, eq=False)
class TrainingLoss:
    """The mean over pixels of w_label (log Σ exp(z) - Σ q z), with targets q = (1 - ε) T_label + ε / K.

    ε is `smoothing` (Szegedy et al. 2016); `weights` are w, float32 [K], and `neighbours` are T, float32
    [K, K]; where one is None, all weigh 1, or T is the identity.
    """

    smoothing: float
    weights: np.ndarray | None
    neighbours: np.ndarray | None

    @classmethod
    def from_config(cls, config: LossConfig, manifest: schema.Manifest) -> TrainingLoss:
        """Takes colours from the palette and their frequencies from the training split."""
        weights = neighbours = None
        if config.uniform_share < 1:
            weights = class_weights(manifest.splits["train"].label_histogram, config.uniform_share)
        if config.neighbour_sigma:
            neighbours = neighbour_targets(manifest.palette.rgb, config.neighbour_sigma)
        return cls(config.label_smoothing, weights, neighbours)

    @property
    def is_cross_entropy(self) -> bool:
        """Whether it is the cross-entropy itself."""
        return not self.smoothing and self.weights is None and self.neighbours is None

    def __call__(self, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """A scalar, for arguments like those of `cross_entropy`."""
        logits, labels = tf.cast(logits, tf.float32), tf.cast(labels, tf.int32)
        if self.neighbours is None:
            at_target = _at_label(logits, labels)
        else:
            at_target = tf.reduce_sum(logits * tf.gather(self.neighbours, labels), axis=-1)
        if self.smoothing:
            uniform = tf.reduce_mean(logits, axis=-1)
            at_target = (1 - self.smoothing) * at_target + self.smoothing * uniform
        losses = tf.reduce_logsumexp(logits, axis=-1) - at_target
        return tf.reduce_mean(losses if self.weights is None else losses * tf.gather(self.weights, labels))


def class_weights(histogram: list[int], uniform_share: float) -> np.ndarray:
    """Rare colours weigh more: w ∝ 1 / ((1 - λ) p + λ / K), scaled so that a pixel weighs 1 on average.

    Zhang, Isola, Efros, "Colorful Image Colorization" (2016), section 2.2, equation 4; they smooth p over
    neighbouring colours first, for their grid has hundreds. λ > 0 bounds the weight of a colour that never
    occurs.

    Args:
      histogram: pixels by label, [K], at least one. uniform_share: λ, above 0, up to 1.

    Returns:
      float32 [K], with Σ p w = 1.
    """
    shares = np.asarray(histogram, np.float64) / np.sum(histogram, dtype=np.float64)
    weights = 1 / ((1 - uniform_share) * shares + uniform_share / len(shares))
    return (weights / (shares @ weights)).astype(np.float32)


def neighbour_targets(rgb: np.ndarray, sigma: float) -> np.ndarray:
    """Colours that look alike share a target: rows ∝ exp(-d² / 2σ²), d the distance in OKLab.

    Args:
      rgb: uint8 [K, 3]. sigma: above 0, in units of OKLab (black to white is 1).

    Returns:
      float32 [K, K]; row i is the target of label i and adds up to 1.
    """
    lab = to_oklab(rgb)
    nearness = np.exp(-((lab[:, None] - lab[None]) ** 2).sum(-1) / (2 * sigma**2))
    return (nearness / nearness.sum(1, keepdims=True)).astype(np.float32)


def to_logits(outputs: tf.Tensor, gives_logits: bool) -> tf.Tensor:
    """Logits as they are; the article's scores as the logits that make the same cross-entropy.

    The article's network ends in a batch normalization, so its outputs are no probabilities: some are
    negative, and they do not add up to 1. Keras trains such a network without complaint, because its
    cross-entropy clips "probabilities" to [1e-7, 1 - 1e-7] and divides them by their sum. That is
    softmax(log(clip(scores))), which is what is done here, to the letter: scores outside the range get no
    gradient. It is the article as it stands, not advice; `article_logits` is the repair.
    """
    if gives_logits:
        return outputs
    scores = tf.clip_by_value(tf.cast(outputs, tf.float32), EPSILON, 1 - EPSILON)
    return tf.math.log(scores)


def _at_label(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    # A sum over one-hot instead of a gather: its gradient is no scatter, and XLA makes one pass of it all.
    return tf.reduce_sum(logits * tf.one_hot(tf.cast(labels, tf.int32), logits.shape[-1]), axis=-1)
