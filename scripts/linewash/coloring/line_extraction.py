"""Extracts the lines of a drawing: removes shading, then reduces each stroke to one thin line.

The network was trained on Canny edges, which are one pixel wide at its own small size. Canny would mark both
sides of a pen stroke, but a stroke stands for one line, so strokes are thinned to their centre lines. An area
filled with ink has no meaningful centre line and is represented by its outline.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import cv2
import numpy as np

from linewash.coloring.image_io import MAX_PIXELS, read_image
from linewash.coloring.stroke_detection import (
    find_strokes,
    is_dark_on_light,
    reference_side,
    remove_shading,
    resize_grey,
    to_grey,
)
from linewash.coloring.thinning import prune, thin
from training.errors import WorkError

Polarity = Literal["auto", "dark", "light"]
Source = Literal["drawing", "photo"]

# Smallest and largest longer side, px, at which strokes are detected and regions are filled. It is fine
# enough for the curves of a phone's photo, and a smaller image improves when enlarged.
LINE_MAP_SIDES = (512, 1024)
FINE_LINES_FROM = 3  # px of the image per pixel of the line map from which fine lines may get lost ...
MAX_CLEAN_GRAIN = 0.006  # ... on paper without grain: its lower quartile is at most this much darker ...
MAX_MISSED = 0.02  # ... and are detected in another way if this fraction of them was missed
STRIP_SIDES = 2  # the line map of a long strip has at most the pixels of a square of this many times max_side
BACKGROUNDS = {"dark": 255, "light": 0}  # for a transparent drawing whose polarity is given
FILLED_WIDTH = 2.5  # an area this many times as wide as the pen is filled, not drawn ...
MIN_FILLED_RADIUS = 0.012  # ... if its half-width is this fraction of the reference side, else it is a dot


@dataclass(frozen=True)
class Drawing:
    """An image and the lines on it.

    rgb: uint8 [H, W, 3], the upright image.
    line_map: uint8 [h, w] in {0, 1}, the lines one pixel wide, at the size at which regions are filled.
    stroke_mask: uint8 [h, w] in {0, 1}, all pixels that strokes cover, at the same size.
    dark_on_light: whether the lines are darker than the paper.
    """

    rgb: np.ndarray
    line_map: np.ndarray
    stroke_mask: np.ndarray
    dark_on_light: bool

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the image in pixels."""
        return self.rgb.shape[0], self.rgb.shape[1]

    def lines(self, height: int, width: int) -> np.ndarray:
        """Returns the lines at another size, still one pixel wide: float32 [height, width] in {0, 1}."""
        return resize_lines(self.line_map, height, width).astype(np.float32)

    @cached_property
    def line_opacity(self) -> np.ndarray:
        """How much ink covers each pixel of the image, without shading and grain: float32 [H, W], 0 to 1."""
        height, width = self.shape
        if not self.stroke_mask.any():  # the lines of a photo are edges between colours, without ink
            return np.zeros((height, width), np.float32)
        darkness = remove_shading(to_grey(self.rgb, self.dark_on_light))
        # A little wider than the strokes, so that their rims stay soft.
        near_strokes = cv2.dilate(self.stroke_mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5)))
        # The arrays are modified in place: for a large drawing each takes hundreds of megabytes.
        near_strokes = cv2.resize(
            near_strokes.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR
        )
        mask_size = self.stroke_mask.shape[1], self.stroke_mask.shape[0]
        small = cv2.resize(darkness, mask_size, interpolation=cv2.INTER_AREA)
        full_darkness = float(np.percentile(small[self.stroke_mask == 1], 75))
        faint_darkness = 0.2 * full_darkness
        darkness -= faint_darkness
        darkness /= max(full_darkness - faint_darkness, 1e-3)
        opacity = np.clip(darkness, 0, 1, out=darkness)
        opacity *= near_strokes
        # Within large inked areas there is no paper to compare with: they are opaque by definition.
        depth = cv2.distanceTransform(self.stroke_mask, cv2.DIST_L2, 5) / (
            MIN_FILLED_RADIUS * reference_side(small.shape)
        )
        solid = cv2.resize(depth, (width, height), interpolation=cv2.INTER_LINEAR)
        solid *= 2
        solid -= 1
        return np.maximum(opacity, np.clip(solid, 0, 1, out=solid), out=opacity)


class EmptyDrawingError(WorkError):
    """The image has no lines."""


def read_drawing(
    data: bytes,
    lines: Polarity = "auto",
    source: Source = "drawing",
    max_side: int = LINE_MAP_SIDES[1],
    max_pixels: int = MAX_PIXELS,
) -> Drawing:
    """Extracts the lines of an image file.

    Args:
      data: the bytes of the file.
      lines: whether they are darker or lighter than the paper; "auto" decides from the image.
      source: "drawing", or "photo" to draw the lines by the edge detector of preprocess.
      max_side: largest longer side of the line map in pixels; smaller is faster.
      max_pixels: a larger image is an error.

    Raises:
      EmptyDrawingError: there are no lines.
      WorkError: the image cannot be read (see `read_image`).
    """
    background = None if lines == "auto" or source == "photo" else BACKGROUNDS[lines]
    rgb = read_image(data, max_pixels, background)
    if source == "photo":
        return _draw_photo(rgb)
    dark_on_light = lines == "dark" or (lines == "auto" and is_dark_on_light(rgb))
    shape = line_map_shape(rgb.shape[0], rgb.shape[1], max_side)
    strokes = _detect_strokes(to_grey(rgb, dark_on_light), *shape)
    if not strokes.any() or strokes.all():  # without paper between them there are no lines either
        raise EmptyDrawingError("there are no lines in the image: draw darker ones")
    return Drawing(rgb, centre_lines(strokes), strokes, dark_on_light)


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


def photo_shape(height: int, width: int) -> tuple[int, int]:
    """Returns the size at which a photo's lines are drawn: `LINE_MAP_SIDES[0]` at most, never enlarged."""
    if reference_side((height, width)) <= LINE_MAP_SIDES[0]:
        return height, width
    return line_map_shape(height, width, LINE_MAP_SIDES[0])


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


def centre_lines(strokes: np.ndarray) -> np.ndarray:
    """Returns one line per stroke and the outlines of filled areas; both masks are uint8 [H, W] in {0, 1}."""
    distance = cv2.distanceTransform(strokes, cv2.DIST_L2, 5)
    thinned = thin(strokes)
    pen_radius = max(1.0, float(np.median(distance[thinned == 1])))
    filled_radius = max(FILLED_WIDTH * pen_radius, MIN_FILLED_RADIUS * reference_side(strokes.shape))
    cores = (distance > filled_radius).astype(np.uint8)
    if cores.any():
        # The filled area is what a disc of that size reaches within the ink (an opening). Its rim is kept as
        # broad as the pen, so that it is thinned like any stroke.
        reach = cv2.distanceTransform(1 - cores, cv2.DIST_L2, 5)
        filled = ((reach <= filled_radius) & (strokes == 1)).astype(np.uint8)
        inside = cv2.distanceTransform(filled, cv2.DIST_L2, 5) > min(2 * pen_radius, 0.8 * filled_radius)
        thinned = thin(strokes & ~inside.astype(np.uint8))
    return thin(prune(thinned, max(2, round(1.5 * pen_radius))))


def resize_lines(lines: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes thin lines, uint8 [H, W] in {0, 1}, so that they are thin and unbroken at the new size."""
    rows, columns = np.nonzero(lines)
    if lines.shape[0] < height:  # interpolated first: enlarged pixel by pixel, lines would break into dots
        large = cv2.resize(lines, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)
        return thin((large > 0).astype(np.uint8))
    small = np.zeros((height, width), np.uint8)
    small[rows * height // lines.shape[0], columns * width // lines.shape[1]] = 1
    return thin(small)


def _draw_photo(rgb: np.ndarray) -> Drawing:
    """Draws the lines of a photo by the recipe of preprocess, but keeps the aspect ratio."""
    from preprocess.lines.canny import to_edges
    from preprocess.recipe import DEFAULT

    height, width = rgb.shape[:2]
    small = cv2.resize(rgb, photo_shape(height, width)[::-1], interpolation=cv2.INTER_AREA)
    lines = to_edges(cv2.normalize(small, np.empty_like(small), 0, 255, cv2.NORM_MINMAX), DEFAULT)
    if not lines.any():
        raise EmptyDrawingError("there are no edges in the photo: all of it has one colour")
    return Drawing(rgb, lines, np.zeros_like(lines), True)
