"""A page in, a person's lines out: even paper, one thin line for each stroke, whatever it was drawn with.

The network has learnt from Canny's lines: one pixel wide, at its own small size. Canny itself would draw
either side of a pen's stroke, and a person's stroke means one line; so strokes are thinned to their centre
lines. What is filled with ink has no centre line that means anything: it is drawn by its outline.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import cv2
import numpy as np

from linewash.coloring.image_io import MAX_PIXELS, read_page
from linewash.coloring.ink import find_strokes, grey_of, has_dark_lines, page_side, remove_shading, resized
from linewash.coloring.thinning import prune, thin
from training.errors import WorkError

Polarity = Literal["auto", "dark", "light"]
Source = Literal["drawing", "photo"]

# Strokes are found, and regions filled, at a size of this many pixels on the longer side: fine enough for
# the curves of a phone's photo, and a smaller picture gains by being enlarged.
GUIDE_SIDES = (512, 1024)
THIN_LINES_FROM = 3  # px of a page that is drawn by a program, to a pixel of the guide, from which ...
CLEAN = 0.006  # ... (a page is, if the paper's lower quartile is no darker than this) ...
MISSED = 0.02  # ... lines are looked for once more, if as large a share of them was missed
STRIP_SIDES = 2  # a long strip's guide has at most the pixels of a square of so many times `finest`
PAPER = {"dark": 255, "light": 0}  # what a transparent drawing is laid on when its lines are said to be so
FILLED = 2.5  # an area this many times as wide as the pen is filled in, not drawn ...
SMALLEST_FILLED = 0.012  # ... if its half-width is this share of the page: smaller ones are dots


@dataclass(frozen=True)
class Drawing:
    """A page and what is drawn on it.

    rgb: uint8 [H, W, 3], the page itself, upright.
    guide: uint8 [GH, GW] in {0, 1}: its lines, one pixel wide, at the size where regions are filled.
    strokes: uint8 [GH, GW] in {0, 1}: everything inked, at the same size.
    dark: whether the ink is darker than the paper.
    """

    rgb: np.ndarray
    guide: np.ndarray
    strokes: np.ndarray
    dark: bool

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the page in pixels."""
        return self.rgb.shape[0], self.rgb.shape[1]

    def lines(self, height: int, width: int) -> np.ndarray:
        """The lines at a size of the network's, still one pixel wide: float32 [height, width] in {0, 1}."""
        return shrink_lines(self.guide, height, width).astype(np.float32)

    @cached_property
    def ink(self) -> np.ndarray:
        """How much ink lies on each pixel of the page, freed of shade and grain: float32 [H, W], 0 to 1."""
        height, width = self.shape
        if not self.strokes.any():  # a photograph's lines lie between its colours: no ink of its own
            return np.zeros((height, width), np.float32)
        darkness = remove_shading(grey_of(self.rgb, self.dark))
        # A little wider than what was found, so that the strokes' soft rims stay soft.
        near = cv2.dilate(self.strokes, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5)))
        # Work in place: each of these arrays takes hundreds of megabytes on a large page.
        near = cv2.resize(near.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        small = cv2.resize(
            darkness, (self.strokes.shape[1], self.strokes.shape[0]), interpolation=cv2.INTER_AREA
        )
        full = float(np.percentile(small[self.strokes == 1], 75))
        faint = 0.2 * full
        darkness -= faint
        darkness /= max(full - faint, 1e-3)
        ink = np.clip(darkness, 0, 1, out=darkness)
        ink *= near
        # Within large inked areas there is no paper to compare with.
        depth = cv2.distanceTransform(self.strokes, cv2.DIST_L2, 5) / (
            SMALLEST_FILLED * page_side(small.shape)
        )
        solid = cv2.resize(depth, (width, height), interpolation=cv2.INTER_LINEAR)
        solid *= 2
        solid -= 1
        return np.maximum(ink, np.clip(solid, 0, 1, out=solid), out=ink)


class EmptyPageError(WorkError):
    """There is nothing drawn on it."""


def read_drawing(
    data: bytes,
    lines: Polarity = "auto",
    source: Source = "drawing",
    finest: int = GUIDE_SIDES[1],
    most: int = MAX_PIXELS,
) -> Drawing:
    """Finds the lines of a picture file.

    Args:
      lines: whether they are darker or lighter than the paper; auto looks.
      source: drawing, or photo: then the lines are those that preprocess would draw.
      finest: px of the guide's longer side at most: a smaller one is quicker.
      most: pixels that the picture may have.

    Raises:
      EmptyPageError: an empty page.
      WorkError: no readable picture (see `read_page`).
    """
    rgb = read_page(data, most, None if lines == "auto" or source == "photo" else PAPER[lines])
    if source == "photo":
        return _of_photo(rgb)
    dark = lines == "dark" or (lines == "auto" and has_dark_lines(rgb))
    strokes = _shrunk_strokes(grey_of(rgb, dark), *guide_shape(rgb.shape[0], rgb.shape[1], finest))
    if not strokes.any() or strokes.all():  # all ink is no lines either: there is no paper between them
        raise EmptyPageError("there are no lines on it: draw darker, or type --lines dark or --lines light")
    return Drawing(rgb, centre_lines(strokes), strokes, dark)


def _shrunk_strokes(grey: np.ndarray, height: int, width: int) -> np.ndarray:
    """The strokes of a page at the guide's size.

    Much narrower than a pixel of the guide, a stroke is too faint there to be told from grain. On paper
    without grain (drawn by a program) it is looked for in the darkest pixels, where it stays dark.

    Args:
      grey: float32 [H, W], brightness 0 to 1, strokes dark.

    Returns:
      uint8 [height, width] in {0, 1}.
    """
    strokes = find_strokes(remove_shading(resized(grey, height, width)))
    cell = grey.shape[0] / height
    paper, grain = np.percentile(grey[::8, ::8], (50, 25))
    if cell < THIN_LINES_FROM or paper - grain > CLEAN:
        return strokes
    darkest = cv2.erode(grey, np.ones((round(1.5 * cell),) * 2, np.uint8))
    thin_too = find_strokes(remove_shading(resized(darkest, height, width)))
    lines = thin(thin_too)
    missed = lines & ~cv2.dilate(strokes, np.ones((5, 5), np.uint8))
    return thin_too if missed.sum() > MISSED * lines.sum() else strokes


def photo_shape(height: int, width: int) -> tuple[int, int]:
    """The size at which a photograph's lines are drawn: `GUIDE_SIDES[0]` at most, never enlarged."""
    if page_side((height, width)) <= GUIDE_SIDES[0]:
        return height, width
    return guide_shape(height, width, GUIDE_SIDES[0])


def guide_shape(height: int, width: int, finest: int = GUIDE_SIDES[1]) -> tuple[int, int]:
    """The size at which lines are found, for a page of this one.

    The same aspect; the longer side is the page's own, within `GUIDE_SIDES` and `finest` at most. A strip
    is as wide as a page of aspect 4 (see `page_side`), or its lines would vanish, up to four times the pixels
    of a square.
    """
    side = page_side((height, width))
    scale = min(max(side, GUIDE_SIDES[0]), finest) / side
    scale = min(scale, STRIP_SIDES * finest / np.sqrt(height * width))
    return max(8, round(height * scale)), max(8, round(width * scale))


def centre_lines(strokes: np.ndarray) -> np.ndarray:
    """One line a stroke, and the outline of what is filled in: both uint8 [H, W] in {0, 1}."""
    distance = cv2.distanceTransform(strokes, cv2.DIST_L2, 5)
    rough = thin(strokes)
    pen = max(1.0, float(np.median(distance[rough == 1])))
    limit = max(FILLED * pen, SMALLEST_FILLED * page_side(strokes.shape))
    cores = (distance > limit).astype(np.uint8)
    if cores.any():
        # The filled area is what a disc of that size can reach inside the ink (an opening); its rim is
        # left as broad as the pen, so that it is thinned like any stroke.
        reach = cv2.distanceTransform(1 - cores, cv2.DIST_L2, 5)
        filled = ((reach <= limit) & (strokes == 1)).astype(np.uint8)
        inside = cv2.distanceTransform(filled, cv2.DIST_L2, 5) > min(2 * pen, 0.8 * limit)
        rough = thin(strokes & ~inside.astype(np.uint8))
    return thin(prune(rough, max(2, round(1.5 * pen))))


def shrink_lines(lines: np.ndarray, height: int, width: int) -> np.ndarray:
    """Brings thin lines to another size, where they are thin and unbroken again: uint8 [height, width]."""
    rows, columns = np.nonzero(lines)
    if lines.shape[0] < height:  # enlarged: spread out first, or the lines would fall apart into dots
        large = cv2.resize(lines, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)
        return thin((large > 0).astype(np.uint8))
    small = np.zeros((height, width), np.uint8)
    small[rows * height // lines.shape[0], columns * width // lines.shape[1]] = 1
    return thin(small)


def _of_photo(rgb: np.ndarray) -> Drawing:
    """A photograph's lines as the recipe draws them, but of the aspect that it has."""
    from preprocess.lines.canny import to_edges
    from preprocess.recipe import DEFAULT

    height, width = rgb.shape[:2]
    small = cv2.resize(rgb, photo_shape(height, width)[::-1], interpolation=cv2.INTER_AREA)
    lines = to_edges(cv2.normalize(small, np.empty_like(small), 0, 255, cv2.NORM_MINMAX), DEFAULT)
    if not lines.any():
        raise EmptyPageError("there is nothing on it to draw: it is all of one colour")
    return Drawing(rgb, lines, np.zeros_like(lines), True)
