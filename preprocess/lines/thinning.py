"""Reduces strokes of any width to centre lines that are one pixel wide, as in the training data."""

from __future__ import annotations

import cv2
import numpy as np

_MAX_TABLE_PIXELS = 1 << 15  # up to this size a mask is thinned by look-up tables, which then is faster
_WORD = 64  # pixels that one operation on words handles

# One bit per neighbour, clockwise from the north: P2 to P9 of Guo and Hall.
_BITS = np.array([[128, 1, 2], [64, 0, 4], [32, 16, 8]], np.float32)


def thin(mask: np.ndarray) -> np.ndarray:
    """Returns the centre lines of a mask: 8-connected and one pixel wide.

    Thinning preserves connectivity and holes, and does not change lines that are already thin. The method is
    algorithm A1 of Guo and Hall 1989, "Parallel thinning with two-subiteration algorithms".

    Args:
      mask: uint8 [H, W] in {0, 1}.

    Returns:
      uint8 [H, W] in {0, 1}.
    """
    return _thin_by_tables(mask) if mask.size <= _MAX_TABLE_PIXELS else _thin_words(mask)


def _is_preserved(p: list[bool], is_second: bool) -> bool:
    """Returns whether the first or second subiteration preserves a pixel with neighbours P2 to P9."""
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
    return crossings != 1 or not 2 <= min(pairs) <= 3 or protected


# The rule for all 256 neighbourhoods, for each subiteration: uint8 [256] in {0, 1}.
_NEIGHBORHOODS = [[bool(code >> i & 1) for i in range(8)] for code in range(256)]
_TABLES = [
    np.array([_is_preserved(p, is_second) for p in _NEIGHBORHOODS], np.uint8) for is_second in (False, True)
]


def _thin_by_tables(mask: np.ndarray) -> np.ndarray:
    """Thins a small mask: a few calls of OpenCV a pass, each over all pixels."""
    lines = mask
    while True:
        before = lines
        for table in _TABLES:
            codes = cv2.filter2D(lines, cv2.CV_8U, _BITS, borderType=cv2.BORDER_CONSTANT)
            lines = cv2.bitwise_and(lines, cv2.LUT(codes, table))
        if np.array_equal(lines, before):
            return lines


def _thin_words(mask: np.ndarray) -> np.ndarray:
    """Thins a large mask. A pixel is one bit, and a pass looks only at what is near the last two changes."""
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
