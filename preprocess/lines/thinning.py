"""Reduces strokes of any width to centre lines that are one pixel wide, as in the training data."""

from __future__ import annotations

import cv2
import numpy as np

_WORD = 64  # pixels that one operation handles


def thin(mask: np.ndarray) -> np.ndarray:
    """Returns the centre lines of a mask: 8-connected and one pixel wide.

    Thinning preserves connectivity and holes, and does not change lines that are already thin. The method is
    algorithm A1 of Guo and Hall 1989, "Parallel thinning with two-subiteration algorithms". A pixel is one
    bit here, so that each operation handles 64 of them, and a pass looks only at what is near the changes of
    the two passes before it.

    Args:
      mask: uint8 [H, W] in {0, 1}.

    Returns:
      uint8 [H, W] in {0, 1}.
    """
    words, stride = _pack(mask)
    active = np.flatnonzero(words)
    changed, previously_changed = active, active
    is_second = False
    while active.size:
        removed = _removable(words, active, stride, is_second)
        is_changed = removed != 0
        previously_changed, changed = changed, active[is_changed]
        words[changed] ^= removed[is_changed]
        active = _near(words, np.concatenate([previously_changed, changed]), stride)
        is_second = not is_second
    return _unpack(words, stride, *mask.shape)


def _pack(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Packs a mask, uint8 [H, W] in {0, 1}, into the bits of uint64 words, row by row.

    A row ends with at least one bit that is 0, so that the ends of rows are no neighbours. Two rows of zeros
    above and below the mask give each of its words eight neighbours.

    Returns:
      the words, uint64 [N], and their number per row.
    """
    height, width = mask.shape
    stride = width // _WORD + 1
    bits = np.zeros((height + 4, stride * _WORD // 8), np.uint8)
    packed = np.packbits(mask, axis=1, bitorder="little")
    bits[2:-2, : packed.shape[1]] = packed
    return bits.ravel().view("<u8"), stride


def _unpack(words: np.ndarray, stride: int, height: int, width: int) -> np.ndarray:
    """Reverses `_pack`."""
    bits = words.view(np.uint8).reshape(-1, stride * _WORD // 8)[2:-2]
    return np.unpackbits(bits, axis=1, count=width, bitorder="little")


def _near(words: np.ndarray, indices: np.ndarray, stride: int) -> np.ndarray:
    """Returns the indices of the words that are not 0 and are, or touch, one of `indices`."""
    is_near = np.zeros(len(words), bool)
    for offset in (0, -1, 1):
        is_near[indices + offset] = True
    row = is_near.copy()
    is_near[stride:] |= row[:-stride]
    is_near[:-stride] |= row[stride:]
    return np.flatnonzero(is_near & (words != 0))


def _removable(words: np.ndarray, indices: np.ndarray, stride: int, is_second: bool) -> np.ndarray:
    """Returns the pixels that the first or second subiteration removes.

    The neighbours are P2 (north) to P9 (clockwise) of Guo and Hall. Their sums of four terms are computed bit
    by bit: exactly one term is 1, at least two are, or all four.

    Args:
      words: uint64 [N], from `_pack`.
      indices: int [M], the words to look at.

    Returns:
      uint64 [M].
    """
    west_of = np.left_shift(words, 1)
    west_of[1:] |= words[:-1] >> (_WORD - 1)
    east_of = np.right_shift(words, 1)
    east_of[:-1] |= words[1:] << (_WORD - 1)
    rows = (indices - stride, indices, indices + stride)
    north, pixels, south = (words[row] for row in rows)
    north_west, west, south_west = (west_of[row] for row in rows)
    north_east, east, south_east = (east_of[row] for row in rows)
    if is_second:
        protected = (north | north_east | ~south_east) & east
    else:
        protected = (south | south_west | ~north_west) & west
    first = (north_west | north, north_east | east, south_east | south, south_west | west)
    second = (north | north_east, east | south_east, south | south_west, west | north_west)
    crossings = (first[1] & ~north, first[2] & ~east, first[3] & ~south, first[0] & ~west)
    first_at_least_two, first_all = _at_least_two_and_all(*first)
    second_at_least_two, second_all = _at_least_two_and_all(*second)
    is_border = first_at_least_two & second_at_least_two & ~(first_all & second_all)
    return pixels & is_border & ~protected & _exactly_one(*crossings)


def _exactly_one(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    return (a ^ b ^ c ^ d) & ~((a & b) | (c & d))  # an odd number, but not three


def _at_least_two_and_all(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    both_first, both_second = a & b, c & d
    return both_first | both_second | ((a | b) & (c | d)), both_first & both_second


def prune(lines: np.ndarray, length: int) -> np.ndarray:
    """Removes spurs of up to `length` pixels from thin lines, uint8 [H, W] in {0, 1}, but keeps true ends."""
    original, neighbors = _frame(lines)
    pruned = original.copy()
    pixels = np.flatnonzero(original.view(bool))
    tips = _ends(pruned, pixels, neighbors)
    for _ in range(length):
        pruned[tips] = 0
        # A pixel becomes an end only when a neighbour is removed.
        tips = _ends(pruned, _around(pruned, tips, neighbors), neighbors)
    # The shortened lines grow back along the original ones, starting at their ends. A removed spur has no
    # end left to grow from.
    ungrown = original.copy()
    for _ in range(length):
        tips = _around(ungrown, tips, neighbors)
        ungrown[tips] = 0
        pruned[tips] = 1
    # Dashes shorter than twice the length have been removed whole: they are restored.
    count, parts = cv2.connectedComponents(original.reshape(lines.shape[0] + 2, -1), connectivity=8)
    part_of_pixel = parts.ravel()[pixels]
    remains = np.zeros(count, bool)
    remains[part_of_pixel[pruned[pixels] == 1]] = True
    pruned[pixels[~remains[part_of_pixel]]] = 1
    return _unframe(pruned, lines)


def find_ends(lines: np.ndarray) -> np.ndarray:
    """Returns the pixels of uint8 [H, W] in {0, 1} that have exactly one neighbour, as such a mask."""
    framed, neighbors = _frame(lines)
    ends = np.zeros_like(framed)
    ends[_ends(framed, np.flatnonzero(framed.view(bool)), neighbors)] = 1
    return _unframe(ends, lines)


def _frame(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Puts zeros around a mask and flattens it.

    Args:
      mask: uint8 [H, W].

    Returns:
      the pixels, uint8 [(H + 2) (W + 2)], and the offsets from the index of a pixel to those of its
      neighbours, int [8, 1].
    """
    framed = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    row = framed.shape[1]
    return framed.ravel(), np.array([-row - 1, -row, -row + 1, -1, 1, row - 1, row, row + 1])[:, None]


def _unframe(framed: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Reverses `_frame`."""
    height, width = mask.shape
    return framed.reshape(height + 2, width + 2)[1:-1, 1:-1].copy()


def _ends(framed: np.ndarray, indices: np.ndarray, neighbors: np.ndarray) -> np.ndarray:
    """Returns those of `indices` whose pixel has exactly one neighbour."""
    return indices[framed[indices + neighbors].sum(0, dtype=np.uint8) == 1]


def _around(framed: np.ndarray, indices: np.ndarray, neighbors: np.ndarray) -> np.ndarray:
    """Returns the indices of the pixels of the mask next to `indices`, each once."""
    around = (indices + neighbors).ravel()
    return np.unique(around[framed[around] == 1])
