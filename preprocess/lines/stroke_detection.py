"""Detects strokes: removes the shading of the paper, then applies two thresholds."""

from __future__ import annotations

import cv2
import numpy as np

PAPER_SIDE = 256  # px; lighting changes slowly, so it is estimated at this size
PAPER_KERNEL = 33  # px at that size: dark structures narrower than this are strokes, wider ones are shade
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
    grey = resize_grey(to_grey(rgb, True), max(1, round(height * scale)), max(1, round(width * scale)))
    low, middle, high = np.percentile(grey, (0.5, 50, 99.5))
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
    small = resize_grey(grey, max(1, round(height * scale)), max(1, round(width * scale)))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (PAPER_KERNEL, PAPER_KERNEL))
    # Odd reflection continues the gradient of the light beyond the border. Without it the closing would take
    # the brightness there from the brighter, inner side only.
    margin = PAPER_KERNEL // 2
    padded = np.pad(
        small, np.minimum(margin, np.array(small.shape)[:, None] - 1), "reflect", reflect_type="odd"
    )
    closed = cv2.morphologyEx(padded.astype(np.float32), cv2.MORPH_CLOSE, disc)
    top, left = (np.array(padded.shape) - small.shape) // 2
    paper = cv2.GaussianBlur(closed[top:, left:][: small.shape[0], : small.shape[1]], (0, 0), 2)
    paper = np.maximum(paper, max(DARKEST_SHADE * float(np.percentile(paper, 95)), 1e-3))
    # From here on one array is reused: for a large drawing it takes hundreds of megabytes.
    darkness = cv2.resize(paper, (width, height), interpolation=cv2.INTER_LINEAR)
    np.divide(grey, darkness, out=darkness)
    np.subtract(1, darkness, out=darkness)
    # The closing follows the brightest grain. Subtracting the median makes the bulk of the paper 0.
    bias = min(float(np.median(darkness)), 0.2)
    darkness -= bias
    darkness /= 1 - bias
    return np.clip(darkness, 0, 1, out=darkness)


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
    # The spread is measured from the median to the upper quartile, because darkness is cut off at 0.
    paper = np.percentile(smooth[smooth <= max(MAX_PAPER_DARKNESS, float(smooth.min()))], (75, 50))
    grain = 1.4826 * float(np.subtract(*paper))  # standard deviation of a normal distribution
    candidates = smooth[smooth > max(MIN_DARKNESS, 6 * grain)]
    strong = float(np.percentile(candidates, 80)) if candidates.size else 0.0
    if strong < MIN_STROKE_DARKNESS:
        return np.zeros(darkness.shape, np.uint8)
    low = max(MIN_DARKNESS, 4 * grain, 0.25 * strong)
    high = max(MIN_DARKNESS, 6 * grain, 0.45 * strong)
    count, parts, stats, _ = cv2.connectedComponentsWithStats((smooth > low).astype(np.uint8), connectivity=8)
    lengths = np.maximum(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT])
    is_stroke = np.zeros(count, bool)
    is_stroke[np.unique(parts[smooth > high])] = True
    is_stroke &= lengths > MAX_SPECK * reference_side(darkness.shape)
    is_stroke[0] = False
    if not (is_stroke & (lengths > MIN_STROKE * reference_side(darkness.shape))).any():
        return np.zeros(darkness.shape, np.uint8)
    return is_stroke[parts].astype(np.uint8)


def to_grey(rgb: np.ndarray, dark_on_light: bool) -> np.ndarray:
    """Returns the brightness from 0 to 1, float32 [H, W], inverted if needed so that lines are dark."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    grey /= 255
    return grey if dark_on_light else np.subtract(1, grey, out=grey)


def resize_grey(grey: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes float [H, W] to [height, width]: by area averages if smaller, else linearly."""
    smaller = height < grey.shape[0]
    return cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
