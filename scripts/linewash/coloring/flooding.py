"""Floods a drawing from hints over its lines and gaps.

A drawing is seen as terrain: paper lies low, a gap rises the narrower it is, and lines are ridges. Water that
wells up at several sources at once meets at the ridges between them (a seeded watershed, which is a minimum
spanning forest: Cousty et al. 2009, "Watershed cuts").
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from skimage.segmentation import watershed

from preprocess.lines.stroke_detection import reference_side

WIDEST_GAP = 0.25  # from this distance to the nearest line, over the reference side, the terrain is flat
LEVEL_RATIO = 1.6  # ratio of the widths of two gaps that differ in height by one level
BARRIER = 40  # height of a joined gap; the levels of open gaps stay below
RIDGE = 60  # height of the rim of a line


def terrain(lines: np.ndarray, strokes: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """Returns the height of each pixel: int32 [H, W].

    On paper it rises by one level when the distance to the nearest line shrinks by `LEVEL_RATIO`. Joined gaps
    are higher than any open one, and lines are higher still and highest in their middle.

    Args:
      lines, strokes, joints: uint8 [H, W] in {0, 1}: thin lines, all that strokes cover, and what
        `gap_closing.close_gaps` adds.
    """
    ink = np.maximum(lines, strokes)
    widest = WIDEST_GAP * reference_side(lines.shape)
    distance = np.clip(cv2.distanceTransform(1 - ink, cv2.DIST_L2, 5), 0.5, widest)
    height = np.floor(np.log(widest / distance) / math.log(LEVEL_RATIO)).astype(np.int32)
    height[joints == 1] = BARRIER
    depth = cv2.distanceTransform(ink, cv2.DIST_L2, 5)
    return np.where(ink == 1, RIDGE + np.minimum(depth, 1000).astype(np.int32) * 2 + lines, height)


def flood(height: np.ndarray, sources: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Floods the terrain from its sources.

    Args:
      height: int32 [H, W].
      sources: int32 [H, W], the number of each source, or 0.
      mask: bool [H, W], where water may flow; None for everywhere.

    Returns:
      int32 [H, W], the number of the source that reaches each pixel first; 0 where none does.
    """
    return watershed(height, sources, mask=mask).astype(np.int32)
