"""Divides a drawing into the regions between its lines, closing small gaps."""

from __future__ import annotations

import cv2
import numpy as np

from preprocess.nearest_pixel import fill_from_nearest

MIN_REGION = 6e-5  # fraction of the image; a smaller enclosed region is dirt between lines


def segment(lines: np.ndarray, max_gap: float) -> np.ndarray:
    """Numbers the regions between lines by trapped-ball segmentation.

    A ball that does not fit through a gap does not leak through it (Zhang et al. 2009, "Vectorizing cartoon
    animations"). Balls of decreasing size fill the pixels that are still free. A watershed assigns the
    pixels that no ball reached, and finally those of the lines, so that regions meet in the middle of a line.

    Args:
      lines: uint8 [H, W] in {0, 1}, 8-connected.
      max_gap: distance in pixels of two line ends up to which the gap between them is closed.

    Returns:
      int32 [H, W], from 0 to the number of regions - 1, without unused numbers.
    """
    markers = np.zeros(lines.shape, np.int32)
    for radius in (max_gap / 2, max_gap / 4):
        _roll_ball(markers, lines, radius)
    _add_enclosed(markers, lines)
    if not markers.any():
        return markers
    flooded = cv2.watershed(cv2.merge([lines * 255] * 3), markers)
    # The watershed leaves the borders between regions and the border of the image unassigned.
    flooded = fill_from_nearest(flooded, flooded > 0)
    return renumber(flooded)[1]


def renumber(regions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Renumbers regions, int [H, W], without unused numbers.

    Equals `np.unique(regions, return_inverse=True)`, but does not sort all pixels.

    Returns:
      The numbers in use, ascending, int [R]; and for each pixel the index of its number among them,
      int32 [H, W].
    """
    used = np.bincount(regions.ravel()) > 0
    return np.flatnonzero(used), (np.cumsum(used) - 1).astype(np.int32)[regions]


def _roll_ball(markers: np.ndarray, lines: np.ndarray, radius: float) -> None:
    """Adds the regions that a ball of `radius` reaches in the free pixels to `markers`, in place."""
    free = ((lines == 0) & (markers == 0)).astype(np.uint8)
    cores = (cv2.distanceTransform(free, cv2.DIST_L2, 5) > radius).astype(np.uint8)
    if not cores.any():
        return
    count, parts = cv2.connectedComponents(cores, connectivity=4)
    reach = cv2.distanceTransform(1 - cores, cv2.DIST_L2, 5) <= radius
    regions = np.where(reach & (free == 1), fill_from_nearest(parts, cores == 1), 0)
    sizes = np.bincount(regions.ravel(), minlength=count)
    is_region = sizes >= max(MIN_REGION * lines.size, 8 * radius**2)
    is_region[0] = False
    first = int(markers.max()) + 1
    markers += np.where(is_region[regions], regions + first, 0).astype(np.int32)


def _add_enclosed(markers: np.ndarray, lines: np.ndarray) -> None:
    """Adds enclosed regions that are too narrow for any ball to `markers`, in place."""
    free = ((lines == 0) & (markers == 0)).astype(np.uint8)
    _, parts, stats, _ = cv2.connectedComponentsWithStats(free, connectivity=4)
    touches_region = cv2.dilate(
        (markers > 0).astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    )
    is_region = stats[:, cv2.CC_STAT_AREA] >= max(2, MIN_REGION * lines.size)
    is_region[np.unique(parts[touches_region == 1])] = False
    is_region[0] = False
    markers += np.where(is_region[parts], parts + int(markers.max()) + 1, 0).astype(np.int32)
