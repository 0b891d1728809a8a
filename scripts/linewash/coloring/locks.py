"""Locks: colours of an earlier colouring that stay, so that a new line changes only the areas beside it."""

from __future__ import annotations

import cv2
import numpy as np
from skimage.measure import label

from linewash.coloring.label_decoding import LOCKED, MIN_PATCH, MIN_PRESENCE, Segmentation, color_regions
from linewash.coloring.segmentation import renumber
from linewash.coloring.transparency import OPAQUE_ALPHA
from preprocess.nearest_pixel import fill_from_nearest

FREE = -1  # where no colour is locked
SEAM = 1.5  # px: free pixels this near to a locked one belong to it


def to_codes(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns the locked colours, uint8 [h, w, 3 or 4], at another size.

    Returns:
      int32 [height, width], 65536 red + 256 green + blue, or `FREE` where they are transparent.
    """
    rows = np.arange(height) * pixels.shape[0] // height
    pixels = pixels[rows][:, np.arange(width) * pixels.shape[1] // width]
    codes = pixels[..., :3] @ np.array([1 << 16, 1 << 8, 1], np.int32)
    return codes if pixels.shape[2] == 3 else np.where(pixels[..., 3] >= OPAQUE_ALPHA, codes, FREE)


def code_colors(codes: np.ndarray) -> list[tuple[int, int, int]]:
    """Returns the colours that occur in `codes`, without `FREE`: RGB."""
    return [(code >> 16, code >> 8 & 255, code & 255) for code in np.unique(codes[codes != FREE]).tolist()]


def find_kept(areas: np.ndarray, codes: np.ndarray, is_hinted: np.ndarray, is_wide: np.ndarray) -> np.ndarray:
    """Finds out where locked colours stay.

    An area keeps the colour on which at least half of it lies, unless it is a small piece that a new line cut
    out of a larger locked region: of the areas on a connected locked region of one colour, those keep it that
    hold at least half of it, or else the largest. A wide area, which may have several colours, keeps all
    locked regions of which it holds that much, if they cover half of it together.

    Two old areas of one colour that touch are one locked region, of which only the larger keeps the colour,
    unless a transparent seam of about a pixel parts them.

    Args:
      areas: int32 [H, W], `label_decoding.Areas.regions`.
      codes: int32 [H, W], from `to_codes`.
      is_hinted: bool [N], the areas that keep no colour, because a hint colours them.
      is_wide: bool [N], the areas that may have several colours.

    Returns:
      int32 [H, W], as `codes`.
    """
    kept = np.full(codes.shape, FREE, np.int32)
    parts = label(codes, background=FREE, connectivity=1).astype(np.int32)
    num_parts = int(parts.max())
    if not num_parts:
        return kept
    is_locked = parts > 0
    on_part = cv2.distanceTransform((~is_locked).astype(np.uint8), cv2.DIST_L2, 3) <= SEAM
    codes, parts = (np.where(on_part, fill_from_nearest(values, is_locked), 0) for values in (codes, parts))
    part_sizes, area_sizes = np.bincount(parts.ravel()), np.bincount(areas.ravel())
    part_codes = np.zeros(num_parts + 1, np.int32)
    part_codes[parts[on_part]] = codes[on_part]
    keys, overlaps = np.unique(
        areas[on_part].astype(np.int64) * (num_parts + 1) + parts[on_part], return_counts=True
    )
    area, part = np.divmod(keys, num_parts + 1)
    # How much of its area lies on the colour of each pair of an area and a part.
    colored_keys, index = np.unique(area << 24 | part_codes[part], return_inverse=True)
    on_color = np.bincount(index, overlaps, len(colored_keys))[index]
    lies_on = 2 * on_color >= area_sizes[area]
    lies_on |= is_wide[area] & (overlaps >= MIN_PRESENCE * area_sizes[area])
    largest = np.zeros(num_parts + 1, np.int64)
    np.maximum.at(largest, part[lies_on], overlaps[lies_on])
    keeps = lies_on & ((2 * overlaps >= part_sizes[part]) | (overlaps == largest[part])) & ~is_hinted[area]
    area_codes = np.full(len(area_sizes), FREE, np.int32)
    is_most = keeps & (2 * on_color >= area_sizes[area])
    area_codes[area[is_most]] = part_codes[part[is_most]]
    kept = area_codes[areas]
    for number in np.unique(area[keeps & is_wide[area]]):
        of_area = keeps & (area == number)
        has_several = len(np.unique(part_codes[part[of_area]])) > 1
        if has_several and 2 * overlaps[of_area].sum() >= area_sizes[number]:
            kept[areas == number] = FREE
            _keep_in_wide_area(kept, areas == number, codes, np.isin(parts, part[of_area]))
    return kept


def _keep_in_wide_area(kept: np.ndarray, inside: np.ndarray, codes: np.ndarray, is_kept: np.ndarray) -> None:
    """Adds the locked colours of one area, bool [H, W], to `kept`, in place, without leaving specks between.

    Args:
      is_kept: bool [H, W], the locked regions that the area keeps.
    """
    known = inside & is_kept
    _, rest, stats, _ = cv2.connectedComponentsWithStats((inside & ~known).astype(np.uint8), connectivity=4)
    is_speck = stats[:, cv2.CC_STAT_AREA] < MIN_PATCH * inside.size
    is_speck[0] = False
    filled = known | is_speck[rest]
    kept[filled] = fill_from_nearest(codes, known)[filled]


def apply_locks(segmentation: Segmentation, areas: np.ndarray, labels: np.ndarray) -> Segmentation:
    """Gives areas their locked colours.

    Args:
      areas: int32 [H, W].
      labels: int [H, W], the label of each pixel whose colour stays, or -1.
    """
    inside = labels >= 0
    if not inside.any():
        return segmentation
    num_labels = int(labels.max()) + 1
    keys, numbers = renumber((areas * num_labels + labels)[inside])
    regions = np.full(labels.shape, -1, np.int32)
    regions[inside] = numbers
    return color_regions(segmentation, regions, keys % num_labels, np.full(len(keys), LOCKED))
