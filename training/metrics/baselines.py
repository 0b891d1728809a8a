"""Scores of predictions that never look at the drawing: they are the same for every image.

A network must beat them. `Baselines` computes the simplest one from the manifest at the start of a run;
`python -m training.evaluate` computes all three with all scores, which takes one pass over the labels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tfrecords_schema import Palette
from training.metrics.ciede2000 import ciede2000
from training.metrics.color_spaces import to_cielab
from training.metrics.scores import Scores, Tally

# Largest table of S * S * K label counts: the few arrays of this size that are needed take a gigabyte.
MAX_TABLE_SIZE = 2**25


@dataclass(frozen=True)
class Baselines:
    """Scores of predicting the most frequent colour for every pixel.

    Attributes:
      accuracy: fraction of pixels that have the most frequent colour.
      loss: entropy of the labels in nats, the lowest cross-entropy of a constant prediction.
      delta_e: mean CIEDE2000 difference from the most frequent colour.
      commonest: label of the most frequent colour.
    """

    accuracy: float
    loss: float
    delta_e: float
    commonest: int

    @classmethod
    def from_histogram(cls, histogram: list[int], palette: Palette) -> Baselines:
        """Computes the baselines of a label histogram, [K], with at least one pixel.

        The entropy is H = -Σ p ln p over the colours that occur (Shannon 1948).
        """
        scores = score_commonest_color(histogram, palette)
        assert scores.delta_e is not None
        return cls(scores.accuracy, scores.loss, scores.delta_e, int(np.argmax(histogram)))


def score_commonest_color(histogram: list[int], palette: Palette) -> Scores:
    """Scores the prediction that every pixel has the most frequent colour.

    The predicted probabilities are the frequencies of all colours, so that the loss is their entropy.
    """
    counts = np.asarray([histogram], np.int64)
    return score_constant_prediction(counts / counts.sum(), counts, palette)


def score_position_prior(train_counts: np.ndarray, counts: np.ndarray, palette: Palette) -> Scores:
    """Scores the prediction that each pixel has the colours it has in the training split.

    The frequencies are smoothed with add-one smoothing (Laplace), since a colour may be missing there.

    Args:
      train_counts: label counts of the training split, from `count_labels_by_position`.
      counts: label counts of the evaluated split.
      palette: the colours of the labels.
    """
    smoothed = train_counts + 1.0
    return score_constant_prediction(smoothed / smoothed.sum(1, keepdims=True), counts, palette)


def score_best_constant_picture(counts: np.ndarray, palette: Palette) -> Scores:
    """Scores the prediction that each pixel has the colours it has in the evaluated split itself.

    No prediction that ignores the drawing has a higher accuracy or a lower loss on this split. The margin of
    a network over these scores is therefore due to the lines.
    """
    return score_constant_prediction(counts / counts.sum(1, keepdims=True), counts, palette)


def count_labels_by_position(labels: Iterable[np.ndarray], image_size: int, colors: int) -> np.ndarray:
    """Counts how often each pixel has each label.

    Args:
      labels: batches of label maps, integers [B, S, S].
      image_size: S.
      colors: K.

    Returns:
      int32 [S*S, K].
    """
    counts = np.zeros((image_size**2, colors), np.int32)
    positions = np.arange(image_size**2)
    for batch in labels:
        for label_map in batch:
            # Buffered addition is correct here, because no position occurs twice.
            counts[positions, label_map.ravel()] += 1
    return counts


def score_constant_prediction(probabilities: np.ndarray, counts: np.ndarray, palette: Palette) -> Scores:
    """Scores a prediction that is the same for every image.

    Args:
      probabilities: [P, K], of each colour at each of P positions; above 0 where the colour occurs. Of equal
        probabilities the first is the predicted colour.
      counts: integers [P, K], how often each colour occurs at each position.
      palette: the colours of the labels.
    """
    most_probable = np.argsort(-probabilities, axis=1, kind="stable")[:, :3]
    predicted, correct = most_probable[:, 0], np.take_along_axis(counts, most_probable, axis=1)
    occurs = counts > 0
    lab = to_cielab(palette.rgb)
    return Scores.from_tally(
        Tally(
            loss=-(counts[occurs] * np.log(probabilities[occurs])).sum(),
            top3=correct.sum(),
            delta_e=sum(
                counts[predicted == color].sum(0) @ ciede2000(lab, lab[color])
                for color in np.unique(predicted)
            ),
            hits=np.bincount(predicted, correct[:, 0], len(palette)),
            counts=counts.sum(0, dtype=np.int64),
            confusion=np.zeros((0, 0), np.int64),
        )
    )
