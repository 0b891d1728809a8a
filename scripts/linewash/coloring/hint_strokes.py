"""Hint strokes: a transparent image of the drawing's aspect ratio with strokes in the wanted colours."""

from __future__ import annotations

import cv2
import numpy as np

from linewash.coloring.transparency import OPAQUE_ALPHA
from tfrecords_schema import Palette
from training.errors import WorkError
from training.metrics.color_spaces import to_oklab

MAX_ASPECT_ERROR = 0.02  # relative difference from the aspect ratio of the drawing: rounding by about a pixel


def to_labels(rgba: np.ndarray, palette: Palette) -> tuple[np.ndarray, Palette]:
    """Gives each stroke a label, also if its colour is not in the palette.

    The rim of a soft stroke has mixed colours. They belong to the stroke: only a colour that fills 3 x 3
    pixels, or is the most frequent one of its strokes, is a colour that a person picked.

    Args:
      rgba: uint8 [H, W, 4].

    Returns:
      int32 [H, W], label + 1, or 0 without a stroke; and the palette with the foreign colours at its end.
    """
    is_stroke = rgba[..., 3] >= OPAQUE_ALPHA
    # Sorting numbers is much faster than sorting rows.
    codes = rgba[is_stroke][:, :3] @ np.array([1 << 16, 1 << 8, 1], np.int32)
    codes, indices, counts = np.unique(codes, return_inverse=True, return_counts=True)
    colors = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1).astype(np.uint8)
    picked = _picked_colors(is_stroke, indices, counts)
    known = {color: label for label, color in enumerate(palette.colors)}
    for color in colors[picked].tolist():
        known.setdefault(tuple(color), len(known))
    picked_labels = np.array([known[tuple(color)] for color in colors[picked].tolist()])
    labels = np.zeros(is_stroke.shape, np.int32)
    labels[is_stroke] = picked_labels[nearest_in_oklab(colors, colors[picked])][indices] + 1
    return labels, with_colors(palette, list(known))


def _picked_colors(is_stroke: np.ndarray, indices: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Returns the indices of the colours that a person picked: int [P].

    Args:
      is_stroke: bool [H, W].
      indices: int [S], the index of the colour of each pixel of a stroke.
      counts: int [C], the number of pixels of each colour.
    """
    if len(counts) == 1:
        return np.zeros(1, int)
    left, top, width, height = cv2.boundingRect(is_stroke.astype(np.uint8))
    is_stroke = is_stroke[top : top + height, left : left + width]
    by_pixel = np.full(is_stroke.shape, -1, np.int32)
    by_pixel[is_stroke] = indices
    picked = set(np.unique(by_pixel[_equals_neighbours(by_pixel) & is_stroke]).tolist())
    _, parts = cv2.connectedComponents(is_stroke.astype(np.uint8), connectivity=8)
    pairs, sizes = np.unique(parts[is_stroke].astype(np.int64) * len(counts) + indices, return_counts=True)
    largest: dict[int, tuple[int, int]] = {}
    for pair, size in zip(pairs.tolist(), sizes.tolist(), strict=True):
        part, color = divmod(pair, len(counts))
        largest[part] = max(largest.get(part, (0, 0)), (size, color))
    return np.array(sorted(picked | {color for _, color in largest.values()}))


def _equals_neighbours(values: np.ndarray) -> np.ndarray:
    """Returns whether each value of [H, W] equals its eight neighbours, or those within the array: bool."""
    is_equal = np.ones(values.shape, bool)
    before, after, both = slice(None, -1), slice(1, None), slice(None)
    for first, second in (
        ((before, both), (after, both)),
        ((both, before), (both, after)),
        ((before, before), (after, after)),
        ((before, after), (after, before)),
    ):
        agrees = values[first] == values[second]
        is_equal[first] &= agrees
        is_equal[second] &= agrees
    return is_equal


def with_colors(palette: Palette, colors: list[tuple[int, int, int]]) -> Palette:
    """Returns a palette of other colours, or the palette itself if they are the same."""
    return palette if len(colors) == len(palette) else Palette(palette.name, tuple(colors))


def nearest_in_oklab(colors: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Returns the index of the nearest candidate, uint8 [C, 3], for each colour, uint8 [N, 3]: int64 [N]."""
    return ((to_oklab(colors)[:, None] - to_oklab(candidates)[None]) ** 2).sum(-1).argmin(1)


def resize_strokes(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes strokes: each pixel gets the most frequent stroke that covers it, so that no stroke vanishes.

    Args:
      labels: int32 [H, W], label + 1 or 0.

    Returns:
      int32 [height, width].
    """
    if labels.shape[0] < height or labels.shape[1] < width:
        rows = np.arange(height) * labels.shape[0] // height
        labels = labels[rows][:, np.arange(width) * labels.shape[1] // width]
    rows, columns = np.nonzero(labels > 0)
    stroke_labels = labels[rows, columns]
    cells = (rows * height // labels.shape[0]) * width + columns * width // labels.shape[1]
    keys, counts = np.unique(cells * (labels.max() + 1) + stroke_labels, return_counts=True)
    order = np.argsort(counts, kind="stable")  # the most frequent one is written last
    small = np.zeros(height * width, np.int32)
    small[keys[order] // (labels.max() + 1)] = keys[order] % (labels.max() + 1)
    return small.reshape(height, width)


def check_strokes(rgba: np.ndarray, height: int, width: int) -> None:
    """Checks that strokes, uint8 [h, w, 4], fit a drawing of `height` x `width`.

    Raises:
      WorkError: the aspect ratio differs, or there is no stroke.
    """
    check_shape("hints", rgba, height, width, "draw the strokes over the drawing itself")
    if rgba[..., 3].max() < OPAQUE_ALPHA:
        raise WorkError("there is no stroke in the hints: draw at least one that is opaque")


def check_shape(name: str, pixels: np.ndarray, height: int, width: int, advice: str) -> None:
    """Checks that an image [h, w, ...] that belongs to a drawing of `height` x `width` has its aspect ratio.

    Args:
      name: what the image is, in plural; for the message, which ends in `advice`.

    Raises:
      WorkError: the aspect ratio differs.
    """
    own_height, own_width = pixels.shape[:2]
    if not has_same_aspect(own_height, own_width, height, width):
        raise WorkError(
            f"the {name} are {own_width} x {own_height}, but the drawing is {width} x {height}: {advice}"
        )


def has_same_aspect(height: int, width: int, other_height: int, other_width: int) -> bool:
    """Returns whether two images have the same aspect ratio, up to rounding."""
    return abs(width * other_height / (height * other_width) - 1) <= MAX_ASPECT_ERROR
