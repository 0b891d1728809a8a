"""Hint strokes: a transparent picture in which a person has dabbed what should be which colour."""

from __future__ import annotations

import numpy as np

from linewash.coloring.image_io import OPAQUE
from tfrecords_schema import Palette
from training.errors import WorkError
from training.metrics.color_spaces import to_oklab

SKEW = 0.02  # how far the aspect may differ from the drawing's: a pixel or so of rounding


def to_labels(rgba: np.ndarray, palette: Palette) -> np.ndarray:
    """The palette colour nearest to each stroke in OKLab: int64 [H, W], label + 1, or 0 for no stroke."""
    drawn = rgba[..., 3] >= OPAQUE
    colors, which = np.unique(rgba[drawn][:, :3], axis=0, return_inverse=True)
    distance = ((to_oklab(colors)[:, None] - to_oklab(palette.rgb)[None]) ** 2).sum(-1)
    labels = np.zeros(drawn.shape, np.int64)
    labels[drawn] = distance.argmin(1)[which.ravel()] + 1
    return labels


def resize(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Brings strokes to another size: each pixel gets the commonest stroke on it, and any stroke survives.

    Args:
      labels: int64 [H, W], label + 1 or 0.

    Returns:
      int64 [height, width].
    """
    if labels.shape[0] < height or labels.shape[1] < width:
        rows = np.arange(height) * labels.shape[0] // height
        labels = labels[rows][:, np.arange(width) * labels.shape[1] // width]
    rows, columns = np.nonzero(labels)
    found = labels[rows, columns]
    cells = (rows * height // labels.shape[0]) * width + columns * width // labels.shape[1]
    keys, counts = np.unique(cells * (labels.max() + 1) + found, return_counts=True)
    order = np.argsort(counts, kind="stable")  # the commonest is written last
    small = np.zeros(height * width, np.int64)
    small[keys[order] // (labels.max() + 1)] = keys[order] % (labels.max() + 1)
    return small.reshape(height, width)


def check(rgba: np.ndarray, height: int, width: int) -> None:
    """Refuses strokes that do not lie on the drawing.

    Raises:
      WorkError: nothing is drawn, or another aspect.
    """
    found_height, found_width = rgba.shape[:2]
    if abs(found_width * height / (found_height * width) - 1) > SKEW:
        raise WorkError(
            f"the hints are {found_width} x {found_height}, but the drawing is {width} x {height}: "
            "draw the strokes over the drawing itself"
        )
    if not (rgba[..., 3] >= OPAQUE).any():
        raise WorkError("there is no stroke among the hints: draw at least one that is opaque")
