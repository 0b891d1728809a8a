"""Flats: the labels of a coloured drawing without its ink.

Comic artists call the plain colours below the lines *flats*. A network that is to colour a drawing must not
learn to paint ink, because the drawing already has it: what lies under a line gets the label of the nearest
area. An area that is filled with ink, such as black hair, is an area and keeps its label.
"""

from __future__ import annotations

import cv2
import numpy as np

from preprocess.lines.drawn import pen_radius
from preprocess.nearest_pixel import fill_from_nearest

# Ink is an area if it is this wide, as a fraction of the side of the drawing, and as this many pens. Pens are
# narrower, and so is the ink where two or three lines meet at a sharp angle.
MIN_AREA_WIDTH = 0.05
MIN_AREA_PENS = 3


def thin_ink(strokes: np.ndarray, size: int) -> np.ndarray:
    """Finds the pixels of the labels that lines cover, or touch with their soft rims.

    The rims of areas filled with ink count too, because their colour is a mixture.

    Args:
      strokes: uint8 [D, D] in {0, 1}, all pixels of the drawing that ink covers.
      size: side S of the labels in pixels.

    Returns:
      bool [S, S].
    """
    distance = cv2.distanceTransform(strokes, cv2.DIST_L2, 5)
    radius = max(MIN_AREA_WIDTH / 2 * len(strokes), MIN_AREA_PENS * pen_radius(strokes, distance))
    covered = cv2.resize(strokes * np.uint8(255), (size, size), interpolation=cv2.INTER_AREA)
    # A pixel of the labels counts as soon as it or a neighbour has ink.
    ink = cv2.dilate((covered > 0).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    cores = (distance > radius).astype(np.uint8)
    if not cores.any():
        return ink
    # An area is what a disc of that radius reaches within the ink (an opening).
    reach = cv2.distanceTransform(1 - cores, cv2.DIST_L2, 5)
    areas = ((reach <= radius) & (strokes == 1)).astype(np.uint8)
    area_coverage = cv2.resize(areas * np.uint8(255), (size, size), interpolation=cv2.INTER_AREA)
    inside = cv2.erode((area_coverage == 255).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return ink & ~inside


def flats(labels: np.ndarray, ink: np.ndarray) -> np.ndarray:
    """Replaces the labels under ink by the label of the nearest pixel without ink.

    Args:
      labels: uint8 or uint16 [S, S].
      ink: bool [S, S]. If it covers everything, the labels stay as they are.

    Returns:
      Labels of the same shape and dtype.
    """
    return fill_from_nearest(labels, ~ink)
