"""Tells a photograph from a picture of a drawing, by its tones.

A drawing has paper, even if it is tinted, shaded or black, and strokes or flat colours with sharp borders. A
photograph has middling contrasts in much of it: texture and soft borders.
"""

from __future__ import annotations

import cv2
import numpy as np

from linewash.coloring.transparency import shrink_to
from preprocess.lines.stroke_detection import is_dark_on_light

SIDE = 448  # px of the longer side at which a picture is looked at: the grain of paper averages out
MEDIAN = 5  # px: width of the median filter that removes what is left of the grain
NEIGHBOURHOOD = 5  # px: contrasts are measured within squares of this side
MIDDLING_CONTRAST = (4, 50)  # of a grey from 0 to 255; grain has less, and a stroke on paper has more
MAX_STROKE_WIDTH = 9  # px: narrower marks are strokes, and what is behind them is the ground
GROUND_BLUR = 2.0  # px: standard deviation of the blur of the ground
MIN_SLOPE = 0.012  # relative change per pixel: the ground is uneven where it is steeper; shading is flatter
MIN_BRIGHTNESS = 20  # below it the change is not relative any more

# A photograph has more than both. They take 4 % of 300 photographs for drawings, and of 3,000 drawings 0.7 %
# for photographs: those that are coloured in with soft shading.
MIN_MIDDLING = 0.22  # fraction of the picture with a middling contrast
MIN_UNEVEN = 0.05  # fraction of the picture with an uneven ground


def looks_like_photo(rgb: np.ndarray) -> bool:
    """Returns whether uint8 [H, W, 3] looks like a photograph rather than a drawing or a photo of one."""
    small = cv2.medianBlur(shrink_to(rgb, SIDE), MEDIAN)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    if not is_dark_on_light(small):
        grey = 255 - grey
    return _middling_fraction(grey) > MIN_MIDDLING and _uneven_fraction(grey) > MIN_UNEVEN


def _middling_fraction(grey: np.ndarray) -> float:
    """Returns the fraction of uint8 [H, W] with a middling contrast."""
    square = np.ones((NEIGHBOURHOOD, NEIGHBOURHOOD), np.uint8)
    contrast = cv2.subtract(cv2.dilate(grey, square), cv2.erode(grey, square))
    low, high = MIDDLING_CONTRAST
    return float(((contrast > low) & (contrast < high)).mean())


def _uneven_fraction(grey: np.ndarray) -> float:
    """Returns the fraction of uint8 [H, W], strokes dark, in which the ground behind strokes is uneven."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (MAX_STROKE_WIDTH, MAX_STROKE_WIDTH))
    ground = cv2.morphologyEx(grey, cv2.MORPH_CLOSE, disc).astype(np.float32)
    ground = cv2.GaussianBlur(ground, (0, 0), GROUND_BLUR)
    # Sobel's filter gives eight times the change per pixel.
    slope = np.hypot(cv2.Sobel(ground, cv2.CV_32F, 1, 0), cv2.Sobel(ground, cv2.CV_32F, 0, 1)) / 8
    return float((slope > MIN_SLOPE * np.maximum(ground, MIN_BRIGHTNESS)).mean())
