"""Canny edges, the line style of the article."""

from __future__ import annotations

import cv2
import numpy as np

from preprocess.recipe import Recipe


def to_edges(rgb: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Detects the edges of an image: grey → bilateral filter → Canny with thresholds around the median.

    Args:
      rgb: uint8 [H, W, 3].
      recipe: the settings of the filter and of the thresholds.

    Returns:
      uint8 [H, W] in {0, 1}.
    """
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    smoothed = cv2.bilateralFilter(
        grey, recipe.bilateral_diameter, recipe.bilateral_sigma_color, recipe.bilateral_sigma_space
    )
    low, high = canny_thresholds(smoothed, recipe.canny_spread)
    return cv2.Canny(smoothed, low, high) >> 7  # 255 → 1


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
