"""Fills pixels without a value from the nearest pixel that has one."""

from __future__ import annotations

import cv2
import numpy as np


def fill_from_nearest(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Replaces each value of [H, W] by that of the nearest pixel that is `known`, bool [H, W].

    If no pixel is known, the values stay as they are.
    """
    if known.all() or not known.any():
        return values
    _, nearest = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    table = np.zeros(int(nearest.max()) + 1, values.dtype)
    table[nearest[known]] = values[known]
    return table[nearest]
