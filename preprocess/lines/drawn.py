"""Extracts the lines of a drawing: detects the strokes, then reduces each of them to one thin line.

Pairs and colouring use this module, so that a network learns from the lines that it will be given. Canny
would mark both sides of a pen stroke, but a stroke stands for one line, so strokes are thinned to their
centre lines. An area filled with ink has no meaningful centre line and is represented by its outline.
"""

from __future__ import annotations

import cv2
import numpy as np

from preprocess.lines.stroke_detection import (
    find_strokes,
    reference_side,
    remove_shading,
    resize_grey,
    to_grey,
)
from preprocess.lines.thinning import prune, thin

# Smallest and largest longer side, px, at which strokes are detected and regions are filled. It is fine
# enough for the curves of a phone's photo, and a smaller image improves when enlarged.
LINE_MAP_SIDES = (512, 1024)
FINE_LINES_FROM = 3  # px of the image per pixel of the line map from which fine lines may get lost ...
MAX_CLEAN_GRAIN = 0.006  # ... on paper without grain: its lower quartile is at most this much darker ...
MAX_MISSED = 0.02  # ... and are detected in another way if this fraction of them was missed
STRIP_SIDES = 2  # the line map of a long strip has at most the pixels of a square of this many times max_side
FILLED_WIDTH = 2.5  # an area this many times as wide as the pen is filled, not drawn ...
MIN_FILLED_RADIUS = 0.012  # ... if its half-width is this fraction of the reference side, else it is a dot


class NoLinesError(ValueError):
    """The drawing has no lines, or ink covers all of it."""


def find_lines(
    rgb: np.ndarray, dark_on_light: bool, max_side: int = LINE_MAP_SIDES[1]
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the lines of a drawing at the size of its line map.

    Args:
      rgb: uint8 [H, W, 3].
      dark_on_light: whether the lines are darker than the paper.
      max_side: largest longer side of the line map in pixels; smaller is faster.

    Returns:
      the lines one pixel wide, and all pixels that strokes cover: uint8 [h, w] in {0, 1} each.

    Raises:
      NoLinesError: there are no strokes, or no paper between them.
    """
    shape = line_map_shape(rgb.shape[0], rgb.shape[1], max_side)
    strokes = _detect_strokes(to_grey(rgb, dark_on_light), *shape)
    if not strokes.any():
        raise NoLinesError("no strokes")
    if strokes.all():
        raise NoLinesError("ink covers all of it")
    return centre_lines(strokes), strokes


def line_map_shape(height: int, width: int, max_side: int = LINE_MAP_SIDES[1]) -> tuple[int, int]:
    """Returns the size of the line map of an image.

    It has the same aspect ratio. The longer side is that of the image, clipped to `LINE_MAP_SIDES` and to
    `max_side`. A strip gets the width of an image of aspect ratio 4 (see `reference_side`), because its lines
    would vanish otherwise, but at most four times the pixels of a square.
    """
    side = reference_side((height, width))
    scale = min(max(side, LINE_MAP_SIDES[0]), max_side) / side
    scale = min(scale, STRIP_SIDES * max_side / np.sqrt(height * width))
    return max(8, round(height * scale)), max(8, round(width * scale))


def _detect_strokes(grey: np.ndarray, height: int, width: int) -> np.ndarray:
    """Detects the strokes of a drawing at the size of the line map.

    A stroke much narrower than a pixel of the line map is too faint there to be told from grain. On paper
    without grain (drawn by a program) it is detected in the minimum of each neighbourhood, where it stays
    dark.

    Args:
      grey: float32 [H, W], brightness from 0 to 1, strokes dark.

    Returns:
      uint8 [height, width] in {0, 1}.
    """
    strokes = find_strokes(remove_shading(resize_grey(grey, height, width)))
    cell = grey.shape[0] / height
    paper, lower_quartile = np.percentile(grey[::8, ::8], (50, 25))
    if cell < FINE_LINES_FROM or paper - lower_quartile > MAX_CLEAN_GRAIN:
        return strokes
    minimum = cv2.erode(grey, np.ones((round(1.5 * cell),) * 2, np.uint8))
    fine_strokes = find_strokes(remove_shading(resize_grey(minimum, height, width)))
    lines = thin(fine_strokes)
    missed = lines & ~cv2.dilate(strokes, np.ones((5, 5), np.uint8))
    return fine_strokes if missed.sum() > MAX_MISSED * lines.sum() else strokes


def centre_lines(strokes: np.ndarray) -> np.ndarray:
    """Returns one line per stroke and the outlines of filled areas; both masks are uint8 [H, W] in {0, 1}."""
    distance = cv2.distanceTransform(strokes, cv2.DIST_L2, 5)
    outlines = strokes & ~_inside_of_filled(strokes, distance)
    thinned = thin(outlines)
    half_width = max(1.0, float(np.median(distance[thinned == 1])))
    return thin(prune(thinned, max(2, round(1.5 * half_width))))


def pen_radius(strokes: np.ndarray, distance: np.ndarray) -> float:
    """Returns half the width of the pen in pixels, at least 1.

    The distance is largest in the middle of a stroke, so the median of these maxima is taken. The lines are
    not thinned for it, because that would take longer.

    Args:
      strokes: uint8 [H, W] in {0, 1}, at least one pixel of it 1.
      distance: float32 [H, W], distance in pixels to the nearest pixel without ink.
    """
    is_middle = (strokes == 1) & (distance >= cv2.dilate(distance, np.ones((3, 3), np.uint8)))
    return max(1.0, float(np.median(distance[is_middle])))


def _inside_of_filled(strokes: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Returns the filled areas without their rims, so that the outlines are left.

    Args:
      strokes: uint8 [H, W] in {0, 1}.
      distance: float32 [H, W], distance in pixels to the nearest pixel without ink.

    Returns:
      uint8 [H, W] in {0, 1}.
    """
    pen = pen_radius(strokes, distance)
    filled_radius = max(FILLED_WIDTH * pen, MIN_FILLED_RADIUS * reference_side(strokes.shape))
    cores = (distance > filled_radius).astype(np.uint8)
    if not cores.any():
        return cores
    # The filled area is what a disc of that size reaches within the ink (an opening). Its rim is kept as
    # broad as the pen, so that it is thinned like any stroke.
    reach = cv2.distanceTransform(1 - cores, cv2.DIST_L2, 5)
    filled = ((reach <= filled_radius) & (strokes == 1)).astype(np.uint8)
    inside = cv2.distanceTransform(filled, cv2.DIST_L2, 5) > min(2 * pen, 0.8 * filled_radius)
    return inside.astype(np.uint8)


def resize_lines(lines: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes thin lines, uint8 [H, W] in {0, 1}, so that they are thin and unbroken at the new size."""
    if lines.shape[0] < height:  # interpolated first: enlarged pixel by pixel, lines would break into dots
        large = cv2.resize(lines, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)
        return thin((large > 0).astype(np.uint8))
    rows, columns = np.divmod(np.flatnonzero(lines.view(bool)), lines.shape[1])
    small = np.zeros((height, width), np.uint8)
    small[rows * height // lines.shape[0], columns * width // lines.shape[1]] = 1
    return thin(small)
