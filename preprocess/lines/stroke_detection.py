"""Detects strokes: removes the shading of the paper, then applies two thresholds."""

from __future__ import annotations

import cv2
import numpy as np

PAPER_SIDE = 128  # px; lighting changes slowly, so it is estimated at this size
PAPER_KERNEL = 17  # px at that size: dark structures narrower than this are strokes, wider ones are shade
SAMPLE_ROWS = 5  # every fifth row is enough for the median and the grain of the paper
DARKEST_SHADE = 0.4  # brightness of the darkest shade, as a fraction of the paper's brightness in the light
POLARITY_SIDE = 512  # px of the longer side at which the polarity of the lines is decided
MIN_DARKNESS = 0.07  # nothing fainter is a stroke, even on the cleanest paper
MIN_STROKE_DARKNESS = 0.11  # a drawing whose dark pixels are no darker than this holds paper grain only
MAX_PAPER_DARKNESS = 0.3  # darker pixels are not used to estimate the grain of the paper
MAX_SPECK = 0.004  # longest side of a speck of dirt, as a fraction of the reference side
MIN_STROKE = 0.04  # a drawing without a stroke this long (the same fraction) is empty except for dirt
MAX_ASPECT = 4  # the longer side of a strip counts as at most this many times the shorter one


def reference_side(shape: tuple[int, ...]) -> int:
    """Returns the length in pixels that relative sizes on an image of `shape` [H, W] refer to.

    It is the longer side, but of a strip at most `MAX_ASPECT` times the shorter one: a length that is small
    beside a strip may be as wide as the strip.
    """
    return min(max(shape), MAX_ASPECT * min(shape))


def is_dark_on_light(rgb: np.ndarray) -> bool:
    """Returns whether the lines of uint8 [H, W, 3] are darker than the paper.

    Lines cover less area than paper, so the median brightness is that of the paper.
    """
    height, width = rgb.shape[:2]
    scale = min(1.0, POLARITY_SIDE / max(height, width))
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    grey = resize_grey(grey, max(1, round(height * scale)), max(1, round(width * scale)))
    cumulative = np.bincount(grey.ravel()).cumsum()
    low, middle, high = np.searchsorted(cumulative, np.array((0.005, 0.5, 0.995)) * cumulative[-1])
    return bool(high - middle <= middle - low)


def remove_shading(grey: np.ndarray) -> np.ndarray:
    """Computes the darkness of each pixel relative to the paper around it.

    The brightness of the paper is estimated by a morphological closing, which fills dark, narrow structures
    and leaves the borders of broad shadows in place. The image is divided by it because light is
    multiplicative.

    Args:
      grey: float [H, W], brightness from 0 to 1, lines dark.

    Returns:
      float32 [H, W], 0 for paper to 1 for black.
    """
    height, width = grey.shape
    scale = PAPER_SIDE / reference_side(grey.shape)
    small = resize_grey(grey, 2 * max(1, round(height * scale)), 2 * max(1, round(width * scale)))
    # The brightest of four pixels, because their average would darken the paper between hatching lines.
    small = cv2.dilate(small, np.ones((2, 2), np.uint8), anchor=(0, 0))[::2, ::2]
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (PAPER_KERNEL, PAPER_KERNEL))
    # Odd reflection continues the gradient of the light beyond the border. Without it the closing would take
    # the brightness there from the brighter, inner side only.
    margin = PAPER_KERNEL // 2
    padded = np.pad(
        small, np.minimum(margin, np.array(small.shape)[:, None] - 1), "reflect", reflect_type="odd"
    )
    closed = cv2.morphologyEx(padded.astype(np.float32), cv2.MORPH_CLOSE, disc)
    top, left = (np.array(padded.shape) - small.shape) // 2
    paper = cv2.GaussianBlur(closed[top:, left:][: small.shape[0], : small.shape[1]], (0, 0), 1)
    paper = np.maximum(paper, max(DARKEST_SHADE * float(np.percentile(paper, 95)), 1e-3))
    # From here on one array is reused: for a large drawing it takes hundreds of megabytes.
    brightness = cv2.resize(paper, (width, height), interpolation=cv2.INTER_LINEAR)
    np.divide(grey, brightness, out=brightness)
    # The closing follows the brightest grain. Dividing by the median makes the bulk of the paper 1.
    brightness *= -1 / max(float(np.median(brightness[::SAMPLE_ROWS])), 0.8)
    brightness += 1
    return np.clip(brightness, 0, 1, out=brightness)


def find_strokes(darkness: np.ndarray) -> np.ndarray:
    """Finds the strokes by hysteresis thresholding, as in Canny's detector.

    A faint pixel counts if it is connected to a dark one. Both thresholds follow the grain of the paper and
    the darkness of this drawing's strokes, so that a hard pencil is found as well as a marker.

    Args:
      darkness: float32 [H, W], from `remove_shading`.

    Returns:
      uint8 [H, W] in {0, 1}.
    """
    smooth = cv2.GaussianBlur(darkness, (0, 0), 0.8)
    grain = _grain(smooth)
    # The candidates for strokes are few pixels, so all that follows is computed from their list.
    pixels = np.flatnonzero(smooth > MIN_DARKNESS)
    values = smooth.ravel()[pixels]
    candidates = values[values > 6 * grain]
    strong = float(np.percentile(candidates, 80)) if candidates.size else 0.0
    strokes = np.zeros(darkness.shape, np.uint8)
    if strong < MIN_STROKE_DARKNESS:
        return strokes
    low = max(MIN_DARKNESS, 4 * grain, 0.25 * strong)
    high = max(MIN_DARKNESS, 6 * grain, 0.45 * strong)
    count, parts = cv2.connectedComponents((smooth > low).astype(np.uint8), connectivity=8)
    part_of_pixel = parts.ravel()[pixels]
    lengths = np.maximum(*(_extents(part_of_pixel, at, count) for at in np.divmod(pixels, darkness.shape[1])))
    is_stroke = np.zeros(count, bool)
    is_stroke[part_of_pixel[values > high]] = True
    is_stroke &= lengths > MAX_SPECK * reference_side(darkness.shape)
    is_stroke[0] = False
    if (is_stroke & (lengths > MIN_STROKE * reference_side(darkness.shape))).any():
        strokes.ravel()[pixels] = is_stroke[part_of_pixel]
    return strokes


def _extents(parts: np.ndarray, positions: np.ndarray, count: int) -> np.ndarray:
    """Returns the extent of each part along one axis in pixels, as `cv2.connectedComponentsWithStats` does.

    That function takes four times as long, because it also looks at the background.

    Args:
      parts: int [N], the part that each pixel belongs to.
      positions: int [N], its row or column.
      count: number of parts.
    """
    first, last = np.full(count, np.iinfo(np.int64).max), np.full(count, -1)
    np.minimum.at(first, parts, positions)
    np.maximum.at(last, parts, positions)
    return last - first + 1


def _grain(smooth: np.ndarray) -> float:
    """Returns the standard deviation of the grain of the paper in float32 [H, W], 0 for paper to 1 for black.

    The spread is measured from the median to the upper quartile, because darkness is cut off at 0.
    """
    sample = smooth[::SAMPLE_ROWS]
    paper = sample[sample <= max(MAX_PAPER_DARKNESS, float(sample.min()))]
    upper_quartile, median = np.percentile(paper, (75, 50))
    return 1.4826 * float(upper_quartile - median)  # of a normal distribution


def to_grey(rgb: np.ndarray, dark_on_light: bool) -> np.ndarray:
    """Returns the brightness from 0 to 1, float32 [H, W], inverted if needed so that lines are dark."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    grey /= 255
    return grey if dark_on_light else np.subtract(1, grey, out=grey)


def resize_grey(grey: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes float [H, W] to [height, width]: by area averages if smaller, else linearly."""
    smaller = height < grey.shape[0]
    return cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
