"""Posterization: assigns each pixel the label of the nearest palette colour."""

from __future__ import annotations

import itertools
from functools import lru_cache

import cv2
import numpy as np

from preprocess.oklab import box_in_units, to_oklab_units
from tfrecords_schema import Palette

_CELL = 32  # side of the cells of the RGB cube; the nearest colours of a cell are computed together
_BLOCK = 4  # side of the blocks that a cell is finally divided into
_FEW_CANDIDATES = 64  # up to this number, a part of a cell is divided into blocks without further halving
_MAX_PAIRS = 512  # of a block and a candidate, measured at a time, so that the arrays fit into the CPU cache


def to_labels(rgb: np.ndarray, palette: Palette) -> np.ndarray:
    """Returns the label of the nearest palette colour for each pixel. Ties get the lowest label.

    The distance is Euclidean, in RGB for a grid palette, as in the article, and in OKLab for other palettes.
    Look-up tables replace the computation of distances.

    Args:
      rgb: uint8 [H, W, 3].
      palette: the colours; `Palette.to_rgb` converts labels back to colours.

    Returns:
      labels [H, W] of the palette's `label_dtype`.
    """
    red, green, blue = cv2.split(rgb)
    if num_values := num_grid_values(palette):
        for_red, for_green, for_blue = grid_tables(num_values)
        return cv2.LUT(red, for_red) + cv2.LUT(green, for_green) + cv2.LUT(blue, for_blue)
    return nearest_table(palette).look_up(red, green, blue)


def label_histogram(labels: np.ndarray, num_colors: int) -> np.ndarray:
    """Counts the pixels of each label.

    OpenCV is faster than np.bincount, which converts all labels to 64-bit integers.

    Args:
      labels: uint8 or uint16, of any shape.
      num_colors: K.

    Returns:
      int64 [K].
    """
    return cv2.calcHist([labels], [0], None, [num_colors], [0, num_colors]).ravel().astype(np.int64)


@lru_cache
def num_grid_values(palette: Palette) -> int:
    """Returns the number of values per channel of a grid palette; 0 for other palettes."""
    num_values = round(len(palette) ** (1 / 3))
    is_grid = 2 <= num_values <= 16 and palette.colors == Palette.grid(num_values).colors
    return num_values if is_grid else 0


@lru_cache
def grid_tables(num_values: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the contribution of each of the 256 values of red, green and blue to the label.

    The nearest colour of a grid is the nearest in each channel separately. Three tables of 256 entries,
    multiplied by n², n and 1, therefore replace n³ distances.
    """
    palette = Palette.grid(num_values)
    values = palette.rgb[:num_values, 2].astype(np.int64)
    nearest = np.abs(np.arange(256)[:, None] - values).argmin(axis=1)
    r, g, b = (nearest * scale for scale in (num_values**2, num_values, 1))
    dtype = palette.label_dtype
    return r.astype(dtype), g.astype(dtype), b.astype(dtype)


class NearestTable:
    """A table of the nearest label in OKLab for each of the 2^24 colours, computed cell by cell on first use.

    The first photographs use a few of the 512 cells, and all photographs together use most. Computing all
    cells takes 2 s of a core for up to 1,000 colours, and 7 s for 65,536, so each worker fills its own table.
    Threads may share a table: if two of them fill a cell at the same time, both write the same labels.
    """

    def __init__(self, palette: Palette) -> None:
        self._colors = to_oklab_units(palette.rgb).T.astype(np.float64)  # [3, K]
        # The system allocates the memory of zeros when they are first written.
        self._labels = np.zeros((512, _CELL, _CELL, _CELL), palette.label_dtype)
        self._filled = np.zeros(512, bool)

    def look_up(self, red: np.ndarray, green: np.ndarray, blue: np.ndarray) -> np.ndarray:
        """Returns the labels [H, W] of pixels with the given channels, uint8 [H, W] each."""
        index = cv2.LUT(red, _OFFSETS[0]) + cv2.LUT(green, _OFFSETS[1]) + cv2.LUT(blue, _OFFSETS[2])
        cells = index >> 15
        # All indices are valid. With mode="wrap" NumPy takes them without a check, in half the time.
        filled = self._filled.take(cells, mode="wrap")
        if not filled.all():
            for cell in np.unique(cells[~filled]):
                self._fill(int(cell))
        return self._labels.reshape(-1).take(index, mode="wrap")

    @property
    def num_filled(self) -> int:
        """The number of cells that are computed, 0 to 512."""
        return int(self._filled.sum())

    def _fill(self, cell: int) -> None:
        corner = np.array(np.unravel_index(cell, (8, 8, 8))) * _CELL
        red, green, blue = (np.arange(low, low + _CELL) for low in corner)
        all_labels = np.arange(self._colors.shape[1])
        label_box(box_in_units(red, green, blue), self._colors, all_labels, self._labels[cell])
        self._filled[cell] = True


@lru_cache(maxsize=1)
def nearest_table(palette: Palette) -> NearestTable:
    """Returns the table of the palette, which is cached for the next image."""
    return NearestTable(palette)


def _offsets() -> np.ndarray:
    """Returns the contribution of each value of red, green and blue to the index in a table, int32 [3, 256].

    The table is ordered by cells, so that the similar colours of an image are close in memory.
    """
    values = np.arange(256, dtype=np.int32)
    cell, within = values // _CELL, values % _CELL
    return np.stack([(cell << shift + 15) + (within << inner) for shift, inner in ((6, 10), (3, 5), (0, 0))])


_OFFSETS = _offsets()


def label_box(points: np.ndarray, colors: np.ndarray, labels: np.ndarray, out: np.ndarray) -> None:
    """Finds the label of the nearest colour for each point of a box. Ties get the lowest label.

    All numbers are integers below 2^53, so that floats are exact and no distance depends on rounding.

    Args:
      points: in OKLab units, float64 [3, S, S, S].
      colors: the candidates, in OKLab units, float64 [3, K].
      labels: the labels of `colors`, int [K], ascending.
      out: where the labels are written, uint8 or uint16 [S, S, S].
    """
    side = len(out)
    _, near = _candidates(points.reshape(3, 1, -1), colors)
    colors, labels = colors[:, near], labels[near]
    if side > 16 and len(labels) > _FEW_CANDIDATES:
        halves = slice(side // 2), slice(side // 2, side)
        for part in itertools.product(halves, repeat=3):
            label_box(points[:, *part], colors, labels, out[part])
        return
    num_blocks = side // _BLOCK  # along each side
    blocks = points.reshape(3, num_blocks, _BLOCK, num_blocks, _BLOCK, num_blocks, _BLOCK)
    blocks = blocks.transpose(0, 1, 3, 5, 2, 4, 6).reshape(3, num_blocks**3, _BLOCK**3)
    nearest = _nearest(blocks, colors, labels).reshape([num_blocks] * 3 + [_BLOCK] * 3)
    out[:] = nearest.transpose(0, 3, 1, 4, 2, 5).reshape(out.shape)


def _candidates(blocks: np.ndarray, colors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds the colours that can be the nearest one to a point of each block.

    Let c be the center of a block, r its radius, and i the colour nearest to c. For each point x of the
    block and each colour j, |x - j|² - |x - i|² >= |c - j|² - |c - i|² - 2 r |j - i|. If the right side is
    positive, then j is farther away than i from all points of the block.

    Args:
      blocks: float64 [3, B, P].
      colors: float64 [3, K].

    Returns:
      Pairs of indices: of the blocks, ascending, and of the colours, ascending within a block.
    """
    centers = np.rint((blocks.min(axis=2) + blocks.max(axis=2)) / 2)
    radii = np.sqrt(((blocks - centers[:, :, None]) ** 2).sum(axis=0).max(axis=1))
    squares = (centers**2).sum(axis=0)[:, None] + (colors**2).sum(axis=0) - 2 * (centers.T @ colors)
    nearest = squares.argmin(axis=1)
    min_squares = squares.min(axis=1)
    # A cheaper condition comes first: |c - j| <= |c - i| + 2 r. The 1 compensates for rounded square roots.
    block, color = np.nonzero(squares <= (np.sqrt(min_squares) + 2 * radii + 1)[:, None] ** 2)
    distances = np.sqrt(((colors[:, color] - colors[:, nearest[block]]) ** 2).sum(axis=0))
    is_near = squares[block, color] - min_squares[block] <= 2 * radii[block] * distances + 1
    return block[is_near], color[is_near]


def _nearest(blocks: np.ndarray, colors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the label of the nearest colour for each point of `blocks`, float64 [3, B, P]: int64 [B, P]."""
    block, color = _candidates(blocks, colors)
    keys = np.empty((len(block), blocks.shape[2]))
    for start in range(0, len(block), _MAX_PAIRS):
        part = slice(start, start + _MAX_PAIRS)
        difference = blocks[:, block[part]] - colors[:, color[part], None]
        # The squared distance in the high bits, the label in the low 16: the minimum breaks ties by label.
        keys[part] = (difference**2).sum(axis=0) * 2**16 + labels[color[part], None]
    first = np.searchsorted(block, np.arange(blocks.shape[1]))
    return np.minimum.reduceat(keys, first, axis=0).astype(np.int64) & 0xFFFF
