"""What one reaches without looking at the drawing: three predictions that are the same for every picture.

At the start of a run `Baselines` reads the first of them off the manifest. `python -m training.evaluate`
judges all three by all scores; that takes a pass over the labels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tfrecords_schema import Palette
from training.metrics.ciede2000 import ciede2000
from training.metrics.color_spaces import to_cielab
from training.metrics.scores import Scores, Tally

# Larger tables of S * S * K frequencies are not made: several of this size come to a gigabyte.
MAX_TABLE_SIZE = 2**25


@dataclass(frozen=True)
class Baselines:
    """Trivial results to beat, and the palette index of the commonest colour.

    `accuracy`: the share of pixels right when every pixel gets the commonest colour.
    `delta_e`: the mean CIEDE2000 difference from it.
    `loss`: the entropy of the labels in nats: the lowest cross-entropy a constant prediction can have.
    """

    accuracy: float
    loss: float
    delta_e: float
    commonest: int

    @classmethod
    def from_histogram(cls, histogram: list[int], palette: Palette) -> Baselines:
        """From a label histogram [K] with at least one pixel.

        The entropy is H = -Σ p ln p over the colours that occur (Shannon 1948).
        """
        scores = score_commonest_color(histogram, palette)
        assert scores.delta_e is not None
        return cls(scores.accuracy, scores.loss, scores.delta_e, int(np.argmax(histogram)))


def score_commonest_color(histogram: list[int], palette: Palette) -> Scores:
    """Every pixel gets the commonest colour; the loss is that of the palette's shares, their entropy."""
    counts = np.asarray([histogram], np.int64)
    return score_constant_prediction(counts / counts.sum(), counts, palette)


def score_position_prior(train_counts: np.ndarray, counts: np.ndarray, palette: Palette) -> Scores:
    """Each pixel gets the colours it has in the training split, with add-one smoothing (Laplace).

    Args:
      train_counts, counts: of the training and of the judged split, from `count_labels_by_position`.
    """
    smoothed = train_counts + 1.0
    return score_constant_prediction(smoothed / smoothed.sum(1, keepdims=True), counts, palette)


def score_best_constant_picture(counts: np.ndarray, palette: Palette) -> Scores:
    """Each pixel gets the colours it has in the judged split itself.

    Nothing that ignores the drawing has a higher accuracy or a lower loss there, so what a network reaches
    beyond this it has from the lines.
    """
    return score_constant_prediction(counts / counts.sum(1, keepdims=True), counts, palette)


def count_labels_by_position(labels: Iterable[np.ndarray], image_size: int, colors: int) -> np.ndarray:
    """How often each pixel has each colour, from batches of labels [B, S, S]: int32 [S*S, K]."""
    counts = np.zeros((image_size**2, colors), np.int32)
    places = np.arange(image_size**2)
    for batch in labels:
        for picture in batch:
            # Each place occurs once, so this counts every pixel.
            counts[places, picture.ravel()] += 1
    return counts


def score_constant_prediction(shares: np.ndarray, counts: np.ndarray, palette: Palette) -> Scores:
    """The scores of predicting the same for every picture.

    Args:
      shares: probabilities [P, K] at each of P places; not 0 where a colour occurs. Of equal ones the
        first is the likeliest.
      counts: how often each place has each colour, integers [P, K].
    """
    likeliest = np.argsort(-shares, axis=1, kind="stable")[:, :3]
    predicted, found = likeliest[:, 0], np.take_along_axis(counts, likeliest, axis=1)
    occurs = counts > 0
    lab = to_cielab(palette.rgb)
    return Scores.from_tally(
        Tally(
            loss=-(counts[occurs] * np.log(shares[occurs])).sum(),
            top3=found.sum(),
            delta_e=sum(
                counts[predicted == color].sum(0) @ ciede2000(lab, lab[color])
                for color in np.unique(predicted)
            ),
            hits=np.bincount(predicted, found[:, 0], len(palette)),
            counts=counts.sum(0, dtype=np.int64),
            confusion=np.zeros((0, 0), np.int64),
        )
    )
