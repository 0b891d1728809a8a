"""Reads a drawing or a photo, as an image file, and its lines."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import cv2
import numpy as np

from linewash.coloring.image_io import MAX_PIXELS, read_image
from linewash.coloring.transparency import OPAQUE_ALPHA, shrink_to
from preprocess.lines.drawn import (
    LINE_MAP_SIDES,
    MIN_FILLED_RADIUS,
    NoLinesError,
    centre_lines,
    find_lines,
    line_map_shape,
    resize_lines,
)
from preprocess.lines.stroke_detection import is_dark_on_light, reference_side, remove_shading, to_grey
from preprocess.lines.thinning import thin
from training.errors import WorkError

Polarity = Literal["auto", "dark", "light"]
Source = Literal["drawing", "photo"]

BACKGROUNDS = {"dark": 255, "light": 0}  # for a transparent drawing whose polarity is given


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

    def with_dividers(self, dividers: np.ndarray) -> Drawing:
        """Returns the drawing with invisible lines, which divide areas and have no ink.

        Args:
          dividers: opaque strokes on transparency, uint8 [h, w, 4] of the drawing's aspect ratio.
        """
        height, width = self.line_map.shape
        coverage = (dividers[..., 3] >= OPAQUE_ALPHA).astype(np.float32)
        # A pixel that a stroke only touches counts, so that a thin one does not break into dots.
        coverage = cv2.resize(coverage, (width, height), interpolation=cv2.INTER_AREA)
        strokes = (coverage > 0).astype(np.uint8)
        if not strokes.any():
            return self
        return dataclasses.replace(self, line_map=thin(self.line_map | centre_lines(strokes)))

    def resized(self, height: int, width: int) -> Drawing:
        """Returns the drawing at another size. Its ink is resized, smoothly if it is enlarged."""
        if (height, width) == self.shape:
            return self
        is_smaller = height < self.shape[0]
        interpolation = cv2.INTER_AREA if is_smaller else cv2.INTER_CUBIC
        opacity, rgb = (
            cv2.resize(image, (width, height), interpolation=interpolation)
            for image in (self.line_opacity, self.rgb)
        )
        np.clip(opacity, 0, 1, out=opacity)
        return _ResizedDrawing(rgb, self.line_map, self.stroke_mask, self.dark_on_light, opacity)


@dataclass(frozen=True)
class _ResizedDrawing(Drawing):
    """A drawing whose ink was found at another size: `opacity` is its `line_opacity`."""

    opacity: np.ndarray

    @cached_property
    def line_opacity(self) -> np.ndarray:
        return self.opacity


class EmptyDrawingError(WorkError):
    """The image has no lines."""


def read_drawing(
    data: bytes,
    lines: Polarity = "auto",
    source: Source = "drawing",
    max_side: int = LINE_MAP_SIDES[1],
    max_pixels: int = MAX_PIXELS,
    seen_side: int | None = None,
) -> Drawing:
    """Extracts the lines of an image file.

    Args:
      data: the bytes of the file.
      lines: whether they are darker or lighter than the paper; "auto" decides from the image.
      source: "drawing", or "photo" to draw the lines by the edge detector of preprocess.
      max_side: largest longer side of the line map in pixels; smaller is faster.
      max_pixels: a larger image is an error.
      seen_side: a drawing with a longer side than this is shrunk to it before its lines are found, so that
        they do not depend on its size; None not to shrink it.

    Raises:
      EmptyDrawingError: there are no lines.
      WorkError: the image cannot be read (see `read_image`).
    """
    background = None if lines == "auto" or source == "photo" else BACKGROUNDS[lines]
    return extract_drawing(read_image(data, max_pixels, background), lines, source, max_side, seen_side)


def extract_drawing(
    rgb: np.ndarray,
    lines: Polarity = "auto",
    source: Source = "drawing",
    max_side: int = LINE_MAP_SIDES[1],
    seen_side: int | None = None,
) -> Drawing:
    """Extracts the lines of an image, uint8 [H, W, 3]; see `read_drawing`.

    Raises:
      EmptyDrawingError: there are no lines.
    """
    if source == "photo":
        return _draw_photo(rgb)
    dark_on_light = lines == "dark" or (lines == "auto" and is_dark_on_light(rgb))
    try:
        line_map, strokes = find_lines(shrink_to(rgb, seen_side or max(rgb.shape)), dark_on_light, max_side)
    except NoLinesError:
        raise EmptyDrawingError("there are no lines in the image: draw darker ones") from None
    return Drawing(rgb, line_map, strokes, dark_on_light)


def photo_shape(height: int, width: int) -> tuple[int, int]:
    """Returns the size at which a photo's lines are drawn: `LINE_MAP_SIDES[0]` at most, never enlarged."""
    if reference_side((height, width)) <= LINE_MAP_SIDES[0]:
        return height, width
    return line_map_shape(height, width, LINE_MAP_SIDES[0])


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
