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

from coloring.page import MAX_PIXELS, read_page
from coloring.thinning import prune, thin
from training.errors import WorkError

Polarity = Literal["auto", "dark", "light"]
Source = Literal["drawing", "photo"]

# Strokes are found, and regions filled, at a size of this many pixels on the longer side: fine enough for
# the curves of a phone's photo, and a smaller picture gains by being enlarged.
GUIDE_SIDES = (512, 1024)
PAPER_SIDE = 256  # the paper's lighting changes slowly: it is estimated at this size
PAPER_KERNEL = 33  # at that size, px: anything dark and narrower is ink, anything wider is shade ...
DARKEST_SHADE = 0.4  # ... but no shade is darker than this share of the paper in the light
FAINTEST = 0.07  # darkness below which nothing is a stroke, on the cleanest paper
WEAKEST = 0.11  # a drawing whose dark places are no darker than this is the paper's grain
PAPER_AT_MOST = 0.3  # what is darker is not asked how grainy the paper is
SPECK = 0.004  # longest side of what is dirt, as a share of the page's longer side
STROKE = 0.04  # a page without any stroke of at least this share of it is empty, but for dirt
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
        darkness = even(_grey(self.rgb, self.dark))
        # A little wider than what was found, so that the strokes' soft rims stay soft.
        near = cv2.dilate(self.strokes, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5)))
        near = cv2.resize(near.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        small = cv2.resize(
            darkness, (self.strokes.shape[1], self.strokes.shape[0]), interpolation=cv2.INTER_AREA
        )
        full = float(np.percentile(small[self.strokes == 1], 75))
        faint = 0.2 * full
        ink = np.clip((darkness - faint) / max(full - faint, 1e-3), 0, 1) * near
        # Within large inked areas there is no paper to compare with.
        depth = cv2.distanceTransform(self.strokes, cv2.DIST_L2, 5) / (SMALLEST_FILLED * max(small.shape))
        solid = cv2.resize(depth, (width, height), interpolation=cv2.INTER_LINEAR)
        return np.maximum(ink, np.clip(2 * solid - 1, 0, 1))


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
    rgb = read_page(data, most)
    if source == "photo":
        return _of_photo(rgb)
    dark = lines == "dark" or (lines == "auto" and has_dark_lines(rgb))
    height, width = guide_shape(rgb.shape[0], rgb.shape[1], finest)
    darkness = even(_resized(_grey(rgb, dark), height, width))
    strokes = find_strokes(darkness)
    if not strokes.any() or strokes.all():  # all ink is no lines either: there is no paper between them
        raise EmptyPageError("there are no lines on it: draw darker, or type --lines dark or --lines light")
    return Drawing(rgb, centre_lines(strokes), strokes, dark)


def guide_shape(height: int, width: int, finest: int = GUIDE_SIDES[1]) -> tuple[int, int]:
    """The size at which lines are found, for a page of this one.

    The same aspect; the longer side is the page's own, within `GUIDE_SIDES` and `finest` at most.
    """
    side = min(max(max(height, width), GUIDE_SIDES[0]), finest)
    scale = side / max(height, width)
    return max(8, round(height * scale)), max(8, round(width * scale))


def has_dark_lines(rgb: np.ndarray) -> bool:
    """Whether uint8 [H, W, 3] is dark on light: lines are the lesser part, so paper is what the median is."""
    height, width = rgb.shape[:2]
    scale = min(1.0, GUIDE_SIDES[0] / max(height, width))
    grey = _resized(_grey(rgb, True), max(1, round(height * scale)), max(1, round(width * scale)))
    low, middle, high = np.percentile(grey, (0.5, 50, 99.5))
    return bool(high - middle <= middle - low)


def even(grey: np.ndarray) -> np.ndarray:
    """Darkness against the paper around: float [H, W] brightness 0..1 to float32 [H, W], 0 paper, 1 black.

    The paper is what stays when everything dark and narrow is filled up (a closing, which leaves the
    borders of broad shadows where they are), and light multiplies, so it is divided by.
    """
    height, width = grey.shape
    scale = PAPER_SIDE / max(height, width)
    small = _resized(grey, max(1, round(height * scale)), max(1, round(width * scale)))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (PAPER_KERNEL, PAPER_KERNEL))
    # Beyond the border the light goes on as it falls there: a closing would see the brighter side alone.
    beyond = PAPER_KERNEL // 2
    padded = np.pad(
        small, np.minimum(beyond, np.array(small.shape)[:, None] - 1), "reflect", reflect_type="odd"
    )
    closed = cv2.morphologyEx(padded.astype(np.float32), cv2.MORPH_CLOSE, disc)
    top, left = (np.array(padded.shape) - small.shape) // 2
    paper = cv2.GaussianBlur(closed[top:, left:][: small.shape[0], : small.shape[1]], (0, 0), 2)
    paper = np.maximum(paper, max(DARKEST_SHADE * float(np.percentile(paper, 95)), 1e-3))
    darkness = 1 - grey / cv2.resize(paper, (width, height), interpolation=cv2.INTER_LINEAR)
    # The closing follows the brightest grain; the bulk of the paper shall be nought.
    bias = min(float(np.median(darkness)), 0.2)
    return np.clip((darkness - bias) / (1 - bias), 0, 1)


def find_strokes(darkness: np.ndarray) -> np.ndarray:
    """What is ink, of float32 [H, W] as `even` gives it: uint8 [H, W] in {0, 1}.

    Two thresholds, as Canny's: a faint place counts where it hangs on to a dark one. Both follow the paper's
    grain and the darkness of this very drawing's strokes, so a hard pencil is found as a marker is.
    """
    smooth = cv2.GaussianBlur(darkness, (0, 0), 0.8)
    # Of the paper's pixels, from the median to the upper quartile: below nought all is cut off.
    paper = np.percentile(smooth[smooth <= max(PAPER_AT_MOST, float(smooth.min()))], (75, 50))
    grain = 1.4826 * float(np.subtract(*paper))
    noticed = smooth[smooth > max(FAINTEST, 6 * grain)]
    strong = float(np.percentile(noticed, 80)) if noticed.size else 0.0
    if strong < WEAKEST:
        return np.zeros(darkness.shape, np.uint8)
    low = max(FAINTEST, 4 * grain, 0.25 * strong)
    high = max(FAINTEST, 6 * grain, 0.45 * strong)
    count, parts, stats, _ = cv2.connectedComponentsWithStats((smooth > low).astype(np.uint8), connectivity=8)
    longest = np.maximum(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT])
    kept = np.zeros(count, bool)
    kept[np.unique(parts[smooth > high])] = True
    kept &= longest > SPECK * max(darkness.shape)
    kept[0] = False
    if not (kept & (longest > STROKE * max(darkness.shape))).any():
        return np.zeros(darkness.shape, np.uint8)
    return kept[parts].astype(np.uint8)


def centre_lines(strokes: np.ndarray) -> np.ndarray:
    """One line a stroke, and the outline of what is filled in: both uint8 [H, W] in {0, 1}."""
    distance = cv2.distanceTransform(strokes, cv2.DIST_L2, 5)
    rough = thin(strokes)
    pen = max(1.0, float(np.median(distance[rough == 1])))
    limit = max(FILLED * pen, SMALLEST_FILLED * max(strokes.shape))
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
    from preprocess.edges import to_edges
    from preprocess.recipe import DEFAULT

    height, width = rgb.shape[:2]
    scale = min(1.0, GUIDE_SIDES[0] / max(height, width))
    small = cv2.resize(
        rgb, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA
    )
    lines = to_edges(cv2.normalize(small, np.empty_like(small), 0, 255, cv2.NORM_MINMAX), DEFAULT)
    if not lines.any():
        raise EmptyPageError("there is nothing on it to draw: it is all of one colour")
    return Drawing(rgb, lines, np.zeros_like(lines), True)


def _grey(rgb: np.ndarray, dark: bool) -> np.ndarray:
    """Brightness 0..1, float32 [H, W], turned so that lines are dark."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    return grey if dark else 1 - grey


def _resized(grey: np.ndarray, height: int, width: int) -> np.ndarray:
    smaller = height < grey.shape[0]
    return cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
