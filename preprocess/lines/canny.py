"""Canny edges: the line style of the article, and two with more and with fewer lines."""

from __future__ import annotations

import cv2
import numpy as np

from preprocess.recipe import Recipe

FINE_SPREAD = 0.15  # fraction of 255 between the median grey and each threshold; the article has 0.33
COARSE_SIGMA = 1.5 / 128  # standard deviation of the smoothing, as a fraction of the side of the image
COARSE_FLAT = 0.9  # fraction of the pixels whose gradient is below the upper threshold
COARSE_RATIO = 0.4  # lower threshold / upper threshold


def to_edges(rgb: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Detects the edges of an image: grey → bilateral filter → Canny with thresholds around the median.

    Args:
      rgb: uint8 [H, W, 3].
      recipe: the settings of the filter and of the thresholds.

    Returns:
      uint8 [H, W] in {0, 1}.
    """
    return median_edges(smooth(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), recipe), recipe.canny_spread)


def smooth(grey: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Smoothes uint8 [H, W] by the bilateral filter of the recipe."""
    return cv2.bilateralFilter(
        grey, recipe.bilateral_diameter, recipe.bilateral_sigma_color, recipe.bilateral_sigma_space
    )


def median_edges(grey: np.ndarray, spread: float) -> np.ndarray:
    """Detects edges by Canny with thresholds around the median, see `canny_thresholds`.

    Args:
      grey: uint8 [H, W].
      spread: fraction of 255.

    Returns:
      uint8 [H, W] in {0, 1}.
    """
    low, high = canny_thresholds(grey, spread)
    return cv2.Canny(grey, low, high) >> 7  # 255 → 1


def fine_edges(grey: np.ndarray) -> np.ndarray:
    """Detects more edges than `to_edges`: without smoothing, and with thresholds nearer to each other.

    Args:
      grey: uint8 [H, W].

    Returns:
      uint8 [H, W] in {0, 1}.
    """
    return median_edges(grey, FINE_SPREAD)


def coarse_edges(grey: np.ndarray) -> np.ndarray:
    """Detects the edges that are left after strong smoothing.

    Smoothing flattens gradients, more so where there is texture. So the thresholds follow the gradients, as
    Canny 1986 proposes ("A computational approach to edge detection", section X): the upper one is exceeded
    by a fixed fraction of the pixels, the lower one is 0.4 of it.

    Args:
      grey: uint8 [H, W].

    Returns:
      uint8 [H, W] in {0, 1}.
    """
    smoothed = cv2.GaussianBlur(grey, (0, 0), COARSE_SIGMA * max(grey.shape))
    dx, dy = cv2.Sobel(smoothed, cv2.CV_16S, 1, 0), cv2.Sobel(smoothed, cv2.CV_16S, 0, 1)
    counts = np.bincount((np.abs(dx) + np.abs(dy)).ravel()).cumsum()
    high = max(1, int(np.searchsorted(counts, COARSE_FLAT * counts[-1])))
    return cv2.Canny(dx, dy, COARSE_RATIO * high, high) >> 7  # 255 → 1


def canny_thresholds(grey: np.ndarray, spread: float) -> tuple[int, int]:
    """Returns the thresholds median ± 255 · spread, truncated and clipped to 0..255.

    The median is computed from the histogram, which is exact for 8-bit pixels and faster than sorting.

    Args:
      grey: uint8 [H, W].
      spread: fraction of 255 between the median and each threshold.
    """
    cumulative = cv2.calcHist([grey], [0], None, [256], [0, 256]).ravel().cumsum()
    half = grey.size // 2  # the rank of the upper of the two middle values, if their number is even
    upper_middle = int(np.searchsorted(cumulative, half, side="right"))
    lower_middle = upper_middle if grey.size % 2 else int(np.searchsorted(cumulative, half - 1, side="right"))
    median = (lower_middle + upper_middle) / 2
    return max(0, int(median - 255 * spread)), min(255, int(median + 255 * spread))
