"""Lines like those of a pen, by the extended difference of Gaussians."""

from __future__ import annotations

import math

import cv2
import numpy as np

from preprocess.lines.thinning import prune, thin

# The symbols are those of Winnemoeller et al. 2012.
SIGMA = 0.6 / 128  # standard deviation of the smaller Gaussian, as a fraction of the side of the image
K = 1.6  # the larger Gaussian has K times that standard deviation
P = 60.0  # sharpening: weight of the difference of the Gaussians
EPSILON = 0.0  # ink begins where the sharpened image, which has paper at 0 to 1, is darker
PHI = 1.0  # steepness of the transition from paper to ink

# Two thresholds make lines of the ink, 0 for paper to 1 for black.
FAINT_INK = 0.2  # a line continues where its ink is at least this dark ...
DARK_INK = 0.66  # ... if it is this dark somewhere
MIN_LENGTH = 8 / 128  # shorter lines are noise; as a fraction of the side of the image
MAX_SPUR = 2 / 128  # shorter spurs come from thinning


def xdog_lines(grey: np.ndarray) -> np.ndarray:
    """Draws lines on the dark sides of edges, as a pen does, and not where brightness changes slowly.

    Winnemoeller, Kyprianidis and Olsen 2012, "XDoG: An eXtended difference-of-Gaussians compendium including
    advanced image stylization", equations 5 (soft threshold) and 7 (sharpening). The paper leaves the strokes
    grey and of any width. Here they become lines one pixel wide by hysteresis, as in Canny's detector.

    Args:
      grey: uint8 [H, W].

    Returns:
      uint8 [H, W] in {0, 1}.
    """
    side = max(grey.shape)
    sharpened = _sharpen(grey, SIGMA * side)
    strokes = (sharpened < _brightness_of(FAINT_INK)).astype(np.uint8)
    lines = thin(prune(thin(strokes), round(MAX_SPUR * side)))
    count, parts = cv2.connectedComponents(lines, connectivity=8)
    is_line = np.bincount(parts.ravel(), minlength=count) >= MIN_LENGTH * side
    is_dark = np.zeros(count, bool)
    is_dark[parts[sharpened < _brightness_of(DARK_INK)]] = True
    is_line &= is_dark
    is_line[0] = False
    return is_line[parts].astype(np.uint8)


def _sharpen(grey: np.ndarray, sigma: float) -> np.ndarray:
    """Sharpens uint8 [H, W] by the difference of two Gaussians: float32 [H, W]; 0 to 1 where it is flat."""
    brightness = grey.astype(np.float32)
    brightness *= (1 + P) / 255
    narrow = cv2.GaussianBlur(brightness, (0, 0), sigma)
    brightness *= P / (1 + P)
    narrow -= cv2.GaussianBlur(brightness, (0, 0), K * sigma)
    return narrow


def _brightness_of(ink: float) -> float:
    """Returns the brightness that the soft threshold 1 + tanh(PHI (brightness - EPSILON)) draws as `ink`."""
    return EPSILON - math.atanh(ink) / PHI
