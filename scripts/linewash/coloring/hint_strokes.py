"""Hint strokes: a transparent image of the drawing's aspect ratio with strokes in the wanted colours."""

from __future__ import annotations

import numpy as np

from linewash.coloring.background import OPAQUE_ALPHA
from tfrecords_schema import Palette
from training.errors import WorkError
from training.metrics.color_spaces import to_oklab

MAX_ASPECT_ERROR = 0.02  # relative difference from the aspect ratio of the drawing: rounding by about a pixel


def to_labels(rgba: np.ndarray, palette: Palette) -> np.ndarray:
    """Maps each stroke to the nearest palette colour in OKLab.

    Args:
      rgba: uint8 [H, W, 4].

    Returns:
      int64 [H, W], label + 1, or 0 without a stroke.
    """
    is_stroke = rgba[..., 3] >= OPAQUE_ALPHA
    colors, indices = np.unique(rgba[is_stroke][:, :3], axis=0, return_inverse=True)
    distance = ((to_oklab(colors)[:, None] - to_oklab(palette.rgb)[None]) ** 2).sum(-1)
    labels = np.zeros(is_stroke.shape, np.int64)
    labels[is_stroke] = distance.argmin(1)[indices.ravel()] + 1
    return labels


def resize_strokes(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes strokes: each pixel gets the most frequent stroke that covers it, so that no stroke vanishes.

    Args:
      labels: int64 [H, W], label + 1 or 0.

    Returns:
      int64 [height, width].
    """
    if labels.shape[0] < height or labels.shape[1] < width:
        rows = np.arange(height) * labels.shape[0] // height
        labels = labels[rows][:, np.arange(width) * labels.shape[1] // width]
    rows, columns = np.nonzero(labels)
    stroke_labels = labels[rows, columns]
    cells = (rows * height // labels.shape[0]) * width + columns * width // labels.shape[1]
    keys, counts = np.unique(cells * (labels.max() + 1) + stroke_labels, return_counts=True)
    order = np.argsort(counts, kind="stable")  # the most frequent one is written last
    small = np.zeros(height * width, np.int64)
    small[keys[order] // (labels.max() + 1)] = keys[order] % (labels.max() + 1)
    return small.reshape(height, width)


def check_strokes(rgba: np.ndarray, height: int, width: int) -> None:
    """Checks that strokes, uint8 [h, w, 4], fit a drawing of `height` x `width`.

    Raises:
      WorkError: the aspect ratio differs, or there is no stroke.
    """
    hint_height, hint_width = rgba.shape[:2]
    if abs(hint_width * height / (hint_height * width) - 1) > MAX_ASPECT_ERROR:
        raise WorkError(
            f"the hints are {hint_width} x {hint_height}, but the drawing is {width} x {height}: "
            "draw the strokes over the drawing itself"
        )
    if not (rgba[..., 3] >= OPAQUE_ALPHA).any():
        raise WorkError("there is no stroke in the hints: draw at least one that is opaque")
