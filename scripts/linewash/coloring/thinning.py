"""Reduces strokes of any width to centre lines that are one pixel wide, as in the training data."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

# One bit per neighbour, clockwise from the north: P2 to P9 of Guo and Hall.
_BITS = np.array([[128, 1, 2], [64, 0, 4], [32, 16, 8]], np.float32)


def _table(rule: Callable[[list[bool]], bool]) -> np.ndarray:
    """Returns the value of `rule` for all 256 neighbourhoods (P2 to P9): uint8 [256] in {0, 1}."""
    return np.array([rule([bool(code >> i & 1) for i in range(8)]) for code in range(256)], np.uint8)


def _is_removable(p: list[bool], is_second: bool) -> bool:
    """Returns whether the first or second subiteration removes a pixel with the neighbours `p` (P2 to P9).

    Guo and Hall 1989, "Parallel thinning with two-subiteration algorithms", algorithm A1.
    """
    north, north_east, east, south_east, south, south_west, west, north_west = p
    ring = [north, north_east, east, south_east, south, south_west, west, north_west]
    crossings = sum(not ring[i] and (ring[i + 1] or ring[(i + 2) % 8]) for i in (0, 2, 4, 6))
    pairs = (
        sum(ring[i - 1] or ring[i] for i in (0, 2, 4, 6)),
        sum(ring[i] or ring[i + 1] for i in (0, 2, 4, 6)),
    )
    if is_second:
        protected = (north or north_east or not south_east) and east
    else:
        protected = (south or south_west or not north_west) and west
    return crossings == 1 and 2 <= min(pairs) <= 3 and not protected


_PASSES = (_table(lambda p: _is_removable(p, False)), _table(lambda p: _is_removable(p, True)))
_IS_END = _table(lambda p: sum(p) == 1)


def thin(mask: np.ndarray) -> np.ndarray:
    """Returns the centre lines of a mask: 8-connected and one pixel wide.

    Thinning preserves connectivity and holes, and does not change lines that are already thin.

    Args:
      mask: uint8 [H, W] in {0, 1}.

    Returns:
      uint8 [H, W] in {0, 1}.
    """
    lines = mask.copy()
    while True:
        before = lines
        for table in _PASSES:
            lines = lines & ~cv2.LUT(_neighbours(lines), table)
        if np.array_equal(lines, before):
            return lines


def prune(lines: np.ndarray, length: int) -> np.ndarray:
    """Removes spurs of up to `length` pixels from thin lines, uint8 [H, W] in {0, 1}, but keeps true ends."""
    pruned = lines.copy()
    for _ in range(length):
        tips = find_ends(pruned)
        if not tips.any():  # only rings are left, or nothing
            break
        pruned &= ~tips
    # The shortened lines grow back along the original ones, starting at their ends. A removed spur has no
    # end left to grow from.
    tips = find_ends(pruned)
    square = np.ones((3, 3), np.uint8)
    for _ in range(length if tips.any() else 0):
        tips = cv2.dilate(tips, square) & lines
    # Dashes shorter than twice the length have been removed whole: they are restored.
    count, parts = cv2.connectedComponents(lines, connectivity=8)
    remains = np.zeros(count, bool)
    remains[parts[pruned == 1]] = True
    remains[0] = True
    return pruned | tips | (lines & ~remains[parts].astype(np.uint8))


def find_ends(lines: np.ndarray) -> np.ndarray:
    """Returns the pixels of uint8 [H, W] in {0, 1} that have exactly one neighbour, as such a mask."""
    return lines & cv2.LUT(_neighbours(lines), _IS_END)


def _neighbours(mask: np.ndarray) -> np.ndarray:
    """Encodes the eight neighbours of each pixel as the bits of one byte: uint8 [H, W]."""
    return cv2.filter2D(mask, cv2.CV_8U, _BITS, borderType=cv2.BORDER_CONSTANT)
