"""A page's brightness in, what is ink on it out: even paper, then two thresholds."""

from __future__ import annotations

import cv2
import numpy as np

PAPER_SIDE = 256  # the paper's lighting changes slowly: it is estimated at this size
PAPER_KERNEL = 33  # at that size, px: anything dark and narrower is ink, anything wider is shade ...
DARKEST_SHADE = 0.4  # ... but no shade is darker than this share of the paper in the light
POLARITY_SIDE = 512  # px of the longer side at which ink and paper are told apart
FAINTEST = 0.07  # darkness below which nothing is a stroke, on the cleanest paper
WEAKEST = 0.11  # a drawing whose dark places are no darker than this is the paper's grain
PAPER_AT_MOST = 0.3  # what is darker is not asked how grainy the paper is
SPECK = 0.004  # longest side of what is dirt, as a share of the page's side
STROKE = 0.04  # a page without any stroke of at least this share of its side is empty, but for dirt
STRIP_ASPECT = 4  # the side of a longer strip is taken for this many times the shorter one


def page_side(shape: tuple[int, ...]) -> int:
    """The length, px, that sizes on a page of `shape` [H, W] are shares of: its longer side.

    Of a strip it is less than that: what is short beside the strip may be as wide as the strip.
    """
    return min(max(shape), STRIP_ASPECT * min(shape))


def has_dark_lines(rgb: np.ndarray) -> bool:
    """Whether uint8 [H, W, 3] is dark on light: lines are the lesser part, so paper is what the median is."""
    height, width = rgb.shape[:2]
    scale = min(1.0, POLARITY_SIDE / max(height, width))
    grey = resized(grey_of(rgb, True), max(1, round(height * scale)), max(1, round(width * scale)))
    low, middle, high = np.percentile(grey, (0.5, 50, 99.5))
    return bool(high - middle <= middle - low)


def remove_shading(grey: np.ndarray) -> np.ndarray:
    """Darkness against the paper around: float [H, W] brightness 0..1 to float32 [H, W], 0 paper, 1 black.

    The paper is what stays when everything dark and narrow is filled up (a closing, which leaves the
    borders of broad shadows where they are), and light multiplies, so it is divided by.
    """
    height, width = grey.shape
    scale = PAPER_SIDE / page_side(grey.shape)
    small = resized(grey, max(1, round(height * scale)), max(1, round(width * scale)))
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
    # One array from here on: that of a large page takes hundreds of megabytes.
    darkness = cv2.resize(paper, (width, height), interpolation=cv2.INTER_LINEAR)
    np.divide(grey, darkness, out=darkness)
    np.subtract(1, darkness, out=darkness)
    # The closing follows the brightest grain; the bulk of the paper shall be nought.
    bias = min(float(np.median(darkness)), 0.2)
    darkness -= bias
    darkness /= 1 - bias
    return np.clip(darkness, 0, 1, out=darkness)


def find_strokes(darkness: np.ndarray) -> np.ndarray:
    """What is ink, of float32 [H, W] as `remove_shading` gives it: uint8 [H, W] in {0, 1}.

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
    kept &= longest > SPECK * page_side(darkness.shape)
    kept[0] = False
    if not (kept & (longest > STROKE * page_side(darkness.shape))).any():
        return np.zeros(darkness.shape, np.uint8)
    return kept[parts].astype(np.uint8)


def grey_of(rgb: np.ndarray, dark: bool) -> np.ndarray:
    """Brightness 0..1, float32 [H, W], turned so that lines are dark."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    grey /= 255
    return grey if dark else np.subtract(1, grey, out=grey)


def resized(grey: np.ndarray, height: int, width: int) -> np.ndarray:
    """Brings float [H, W] to [height, width]; a pixel of a smaller one is the mean of what it covers."""
    smaller = height < grey.shape[0]
    return cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
