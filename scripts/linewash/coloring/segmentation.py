"""Thin lines in, the areas between them out; small gaps in a hand's lines let nothing through."""

from __future__ import annotations

import cv2
import numpy as np

SMALLEST = 6e-5  # an enclosed area of less than this share of the page is dirt between lines


def segment(lines: np.ndarray, gap: float) -> np.ndarray:
    """Numbers the areas between lines.

    A ball that does not fit through a gap does not leak through it (trapped-ball segmentation: Zhang et al.
    2009, "Vectorizing cartoon animations"). Balls of falling size roll over what is still free; what none of
    them reached is flooded from beside, and the lines themselves last, so that areas meet in mid-line.

    Args:
      lines: uint8 [H, W] in {0, 1}, 8-connected.
      gap: how many pixels apart two ends of a line may lie and still be closed.

    Returns:
      int32 [H, W], 0 to the number of areas - 1, every one of which occurs.
    """
    markers = np.zeros(lines.shape, np.int32)
    for radius in (gap / 2, gap / 4):
        _roll(markers, lines, radius)
    _add_enclosed(markers, lines)
    if not markers.any():
        return markers
    flooded = cv2.watershed(cv2.merge([lines * 255] * 3), markers)
    # The watershed leaves a line between areas, and the frame of the page.
    flooded = nearest(flooded, flooded > 0)
    return renumber(flooded)[1]


def renumber(areas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The numbers that occur, rising, int [A], and the areas by their place among these, int32 [H, W].

    As `np.unique` with its inverse, but without sorting every pixel.
    """
    used = np.bincount(areas.ravel()) > 0
    return np.flatnonzero(used), (np.cumsum(used) - 1).astype(np.int32)[areas]


def nearest(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Gives each pixel the value of the nearest known one: [H, W] and bool [H, W] to [H, W]."""
    if known.all() or not known.any():
        return values
    _, places = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    table = np.zeros(int(places.max()) + 1, values.dtype)
    table[places[known]] = values[known]
    return table[places]


def _roll(markers: np.ndarray, lines: np.ndarray, radius: float) -> None:
    """Adds to `markers` what a ball of `radius` reaches of the free pixels."""
    free = ((lines == 0) & (markers == 0)).astype(np.uint8)
    cores = (cv2.distanceTransform(free, cv2.DIST_L2, 5) > radius).astype(np.uint8)
    if not cores.any():
        return
    count, parts = cv2.connectedComponents(cores, connectivity=4)
    reach = cv2.distanceTransform(1 - cores, cv2.DIST_L2, 5) <= radius
    found = np.where(reach & (free == 1), nearest(parts, cores == 1), 0)
    areas = np.bincount(found.ravel(), minlength=count)
    kept = areas >= max(SMALLEST * lines.size, 8 * radius**2)
    kept[0] = False
    first = int(markers.max()) + 1
    markers += np.where(kept[found], found + first, 0).astype(np.int32)


def _add_enclosed(markers: np.ndarray, lines: np.ndarray) -> None:
    """Adds to `markers` what is free still, if lines enclose it: too narrow for a ball, yet an area."""
    free = ((lines == 0) & (markers == 0)).astype(np.uint8)
    _, parts, stats, _ = cv2.connectedComponentsWithStats(free, connectivity=4)
    beside = cv2.dilate((markers > 0).astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)))
    kept = stats[:, cv2.CC_STAT_AREA] >= max(2, SMALLEST * lines.size)
    kept[np.unique(parts[beside == 1])] = False
    kept[0] = False
    markers += np.where(kept[parts], parts + int(markers.max()) + 1, 0).astype(np.int32)
