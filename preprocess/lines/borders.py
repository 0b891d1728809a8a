"""The borders between areas of one colour: lines that always agree with the labels."""

from __future__ import annotations

import cv2
import numpy as np

from preprocess.lines.thinning import thin
from preprocess.nearest_pixel import fill_from_nearest

MIN_AREA_SIDE = 2  # px; areas that no square of this side fits into are specks, as noise makes them
MIN_LENGTH = 12 / 128  # shorter lines surround specks too; as a fraction of the side of the image


def border_lines(labels: np.ndarray) -> np.ndarray:
    """Draws a line between areas of different labels.

    Each line lies on the left or upper side of the change. Specks belong to the nearest area.

    Args:
      labels: uint8 or uint16 [H, W].

    Returns:
      uint8 [H, W] in {0, 1}.
    """
    lines = label_changes(_without_specks(labels))
    return _without_short_lines(thin(lines), MIN_LENGTH * max(labels.shape))


def label_changes(labels: np.ndarray) -> np.ndarray:
    """Marks the pixels whose right or lower neighbour has another label.

    Args:
      labels: uint8 or uint16 [H, W].

    Returns:
      uint8 [H, W] in {0, 1}.
    """
    changes = np.zeros(labels.shape, np.uint8)
    changes[:, :-1] = labels[:, 1:] != labels[:, :-1]
    changes[:-1] |= labels[1:] != labels[:-1]
    return changes


def _without_specks(labels: np.ndarray) -> np.ndarray:
    """Replaces the labels of specks by that of the nearest area, [H, W] as `labels`."""
    square = np.ones((MIN_AREA_SIDE, MIN_AREA_SIDE), np.uint8)
    lowest = cv2.erode(labels, square, anchor=(0, 0))
    highest = cv2.dilate(labels, square, anchor=(0, 0))
    is_corner = (lowest == highest).astype(np.uint8)
    is_corner[1 - MIN_AREA_SIDE :] = 0  # the square would reach beyond the image
    is_corner[:, 1 - MIN_AREA_SIDE :] = 0
    last = MIN_AREA_SIDE - 1
    is_area = cv2.dilate(is_corner, square, anchor=(last, last))
    return fill_from_nearest(labels, is_area.view(bool))


def _without_short_lines(lines: np.ndarray, length: float) -> np.ndarray:
    """Removes lines of fewer than `length` pixels from uint8 [H, W] in {0, 1}."""
    count, parts = cv2.connectedComponents(lines, connectivity=8)
    is_long = np.bincount(parts.ravel(), minlength=count) >= length
    is_long[0] = False
    return is_long[parts].astype(np.uint8)
