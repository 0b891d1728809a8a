"""Strokes of any width in, lines of one pixel out: centre lines, as the network knows lines."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

# Each of the eight neighbours is one bit, clockwise from the north: P2 to P9 of Guo and Hall.
_BITS = np.array([[128, 1, 2], [64, 0, 4], [32, 16, 8]], np.float32)


def _table(rule: Callable[[list[bool]], bool]) -> np.ndarray:
    """The answers of `rule` to all 256 neighbourhoods (P2 to P9), uint8 [256] in {0, 1}."""
    return np.array([rule([bool(code >> i & 1) for i in range(8)]) for code in range(256)], np.uint8)


def _removable(p: list[bool], second: bool) -> bool:
    """Guo and Hall 1989, "Parallel thinning with two-subiteration algorithms", algorithm A1."""
    north, north_east, east, south_east, south, south_west, west, north_west = p
    ring = [north, north_east, east, south_east, south, south_west, west, north_west]
    crossings = sum(not ring[i] and (ring[i + 1] or ring[(i + 2) % 8]) for i in (0, 2, 4, 6))
    pairs = (
        sum(ring[i - 1] or ring[i] for i in (0, 2, 4, 6)),
        sum(ring[i] or ring[i + 1] for i in (0, 2, 4, 6)),
    )
    if second:
        keeps = (north or north_east or not south_east) and east
    else:
        keeps = (south or south_west or not north_west) and west
    return crossings == 1 and 2 <= min(pairs) <= 3 and not keeps


_PASSES = (_table(lambda p: _removable(p, False)), _table(lambda p: _removable(p, True)))
_ENDS = _table(lambda p: sum(p) == 1)


def thin(mask: np.ndarray) -> np.ndarray:
    """The centre lines of a mask, uint8 [H, W] in {0, 1}: 8-connected, one pixel wide, same shape and type.

    What is connected stays connected, holes stay holes, and a line that is already thin stays as it is.
    """
    lines = mask.copy()
    while True:
        before = lines
        for table in _PASSES:
            lines = lines & ~cv2.LUT(_neighbours(lines), table)
        if np.array_equal(lines, before):
            return lines


def prune(lines: np.ndarray, length: int) -> np.ndarray:
    """Removes spurs of up to `length` pixels from thin lines, uint8 [H, W] in {0, 1}; true ends stay."""
    kept = lines.copy()
    for _ in range(length):
        if not (spent := ends(kept)).any():  # rings alone are left, or nothing
            break
        kept &= ~spent
    # What is left grows back along the old lines, from its ends only: a removed spur has none.
    tips = ends(kept)
    square = np.ones((3, 3), np.uint8)
    for _ in range(length if tips.any() else 0):
        tips = cv2.dilate(tips, square) & lines
    # A closed small thing, or a dash shorter than twice the length, must not vanish.
    count, parts = cv2.connectedComponents(lines, connectivity=8)
    alive = np.zeros(count, bool)
    alive[parts[kept == 1]] = True
    alive[0] = True
    return kept | tips | (lines & ~alive[parts].astype(np.uint8))


def ends(lines: np.ndarray) -> np.ndarray:
    """The pixels with just one neighbour: uint8 [H, W] in {0, 1}."""
    return lines & cv2.LUT(_neighbours(lines), _ENDS)


def _neighbours(mask: np.ndarray) -> np.ndarray:
    """Each pixel's eight neighbours as the bits of one byte: uint8 [H, W]."""
    return cv2.filter2D(mask, cv2.CV_8U, _BITS, borderType=cv2.BORDER_CONSTANT)
