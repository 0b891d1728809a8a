"""RGB pixels in, palette labels out: what the model learns to say."""

from __future__ import annotations

import itertools
from functools import lru_cache

import cv2
import numpy as np

from preprocess.oklab import box_in_units, to_oklab_units
from tfrecords_schema import Palette

_CELL = 32  # side of the cells of the colour cube whose nearest colours are found together
_BLOCK = 4  # side of the blocks into which a cell is cut in the end
_FEW = 64  # candidates for a part of a cell that need no sorting out before it is cut into blocks
_PAIRS = 512  # blocks and candidates measured at a time: what is between stays in the cache


def to_labels(rgb: np.ndarray, palette: Palette) -> np.ndarray:
    """The nearest colour of the palette for each pixel; of equally near ones, the lowest label.

    Nearest is by Euclidean distance in RGB for a grid palette, as in the article, and in OKLab for any other.
    Either way it is looked up in tables, not measured.

    Args:
      rgb: uint8 [H, W, 3].

    Returns:
      labels [H, W] of the palette's `label_dtype`; `Palette.to_rgb` is the way back.
    """
    red, green, blue = cv2.split(rgb)
    if num_values := grid_values(palette):
        for_red, for_green, for_blue = grid_tables(num_values)
        return cv2.LUT(red, for_red) + cv2.LUT(green, for_green) + cv2.LUT(blue, for_blue)
    return nearest_table(palette).look_up(red, green, blue)


def label_histogram(labels: np.ndarray, colors: int) -> np.ndarray:
    """How often each of `colors` labels occurs in `labels`, uint8 or uint16 of any shape: int64 [colors].

    np.bincount would first turn all labels into 64-bit integers.
    """
    return cv2.calcHist([labels], [0], None, [colors], [0, colors]).ravel().astype(np.int64)


@lru_cache
def grid_values(palette: Palette) -> int:
    """How many values a channel of a grid palette has; 0 for any other palette."""
    num_values = round(len(palette) ** (1 / 3))
    is_grid = 2 <= num_values <= 16 and palette.colors == Palette.grid(num_values).colors
    return num_values if is_grid else 0


@lru_cache
def grid_tables(num_values: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For red, green and blue: what each of the 256 values adds to the label.

    The nearest colour of a grid is the nearest in each channel alone, so three 256-entry tables, already
    multiplied by n², n and 1, replace num_values³ distances.
    """
    palette = Palette.grid(num_values)
    values = palette.rgb[:num_values, 2].astype(np.int64)
    nearest = np.abs(np.arange(256)[:, None] - values).argmin(axis=1)
    r, g, b = (nearest * scale for scale in (num_values**2, num_values, 1))
    dtype = palette.label_dtype
    return r.astype(dtype), g.astype(dtype), b.astype(dtype)


class NearestTable:
    """The nearest label in OKLab of every one of the 2^24 colours, found cell by cell when first asked for.

    Photographs need few of the 512 cells at first and most in the end. All of them take 2 s of one core for
    up to 1,000 colours and 7 s for 65,536, so each worker fills a table of its own. Threads may share one: a
    cell that two of them fill at once gets the same labels from both.
    """

    def __init__(self, palette: Palette) -> None:
        self._colors = to_oklab_units(palette.rgb).T.astype(np.float64)  # [3, K]
        self._labels = np.zeros((512, _CELL, _CELL, _CELL), palette.label_dtype)  # memory when first written
        self._filled = np.zeros(512, bool)

    def look_up(self, red: np.ndarray, green: np.ndarray, blue: np.ndarray) -> np.ndarray:
        """The labels of pixels whose channels are given, uint8 [H, W] each: [H, W]."""
        index = cv2.LUT(red, _OFFSETS[0]) + cv2.LUT(green, _OFFSETS[1]) + cv2.LUT(blue, _OFFSETS[2])
        cells = index >> 15
        for cell in np.unique(cells[~self._filled[cells]]):
            self._fill(int(cell))
        return self._labels.reshape(-1)[index]

    @property
    def filled(self) -> int:
        """How many of the 512 cells have been asked for."""
        return int(self._filled.sum())

    def _fill(self, cell: int) -> None:
        corner = np.array(np.unravel_index(cell, (8, 8, 8))) * _CELL
        red, green, blue = (np.arange(low, low + _CELL) for low in corner)
        every = np.arange(self._colors.shape[1])
        label_box(box_in_units(red, green, blue), self._colors, every, self._labels[cell])
        self._filled[cell] = True


@lru_cache(maxsize=1)
def nearest_table(palette: Palette) -> NearestTable:
    """The table of the palette, kept from image to image."""
    return NearestTable(palette)


def _offsets() -> np.ndarray:
    """What each value of red, green and blue adds to a colour's place in a table, int32 [3, 256].

    Cells stand one after the other, so that the colours of an image, which are much alike, are near each
    other in memory.
    """
    values = np.arange(256, dtype=np.int32)
    cell, within = values // _CELL, values % _CELL
    return np.stack([(cell << shift + 15) + (within << inner) for shift, inner in ((6, 10), (3, 5), (0, 0))])


_OFFSETS = _offsets()


def label_box(points: np.ndarray, colors: np.ndarray, labels: np.ndarray, out: np.ndarray) -> None:
    """Writes the label of the nearest colour to every point of a box; of equally near ones, the lowest.

    All numbers are whole and below 2^53, so floats are exact and no distance depends on rounding.

    Args:
      points: in OKLab units, float64 [3, S, S, S].
      colors: what may be nearest, float64 [3, K].
      labels: those of `colors`, int [K], ascending.
      out: the result, uint8 or uint16 [S, S, S].
    """
    side = len(out)
    _, near = _candidates(points.reshape(3, 1, -1), colors)
    colors, labels = colors[:, near], labels[near]
    if side > 16 and len(labels) > _FEW:
        halves = slice(side // 2), slice(side // 2, side)
        for part in itertools.product(halves, repeat=3):
            label_box(points[:, *part], colors, labels, out[part])
        return
    across = side // _BLOCK
    cut = points.reshape(3, across, _BLOCK, across, _BLOCK, across, _BLOCK)
    blocks = cut.transpose(0, 1, 3, 5, 2, 4, 6).reshape(3, across**3, _BLOCK**3)
    found = _nearest(blocks, colors, labels).reshape([across] * 3 + [_BLOCK] * 3)
    out[:] = found.transpose(0, 3, 1, 4, 2, 5).reshape(out.shape)


def _candidates(blocks: np.ndarray, colors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each block of points, which colours can be nearest to one of them.

    Let c be a block's centre, r its radius, i the colour nearest to c. For a point x of the block,
    |x - j|² - |x - i|² >= |c - j|² - |c - i|² - 2 r |j - i|: a colour j for which the right side is
    positive is farther than i everywhere in the block.

    Args:
      blocks: float64 [3, B, P].
      colors: float64 [3, K].

    Returns:
      pairs: the blocks' indices, ascending, and the colours' indices, ascending within a block.
    """
    centres = np.rint((blocks.min(axis=2) + blocks.max(axis=2)) / 2)
    radii = np.sqrt(((blocks - centres[:, :, None]) ** 2).sum(axis=0).max(axis=1))
    squares = (centres**2).sum(axis=0)[:, None] + (colors**2).sum(axis=0) - 2 * (centres.T @ colors)
    nearest = squares.argmin(axis=1)
    least = squares.min(axis=1)
    # First what is cheap: j is no farther from c than i is, plus 2 r. One more, so that roots lose nothing.
    block, color = np.nonzero(squares <= (np.sqrt(least) + 2 * radii + 1)[:, None] ** 2)
    apart = np.sqrt(((colors[:, color] - colors[:, nearest[block]]) ** 2).sum(axis=0))
    near = squares[block, color] - least[block] <= 2 * radii[block] * apart + 1
    return block[near], color[near]


def _nearest(blocks: np.ndarray, colors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The label nearest to each point of `blocks`, float64 [3, B, P]: int64 [B, P]."""
    block, color = _candidates(blocks, colors)
    keys = np.empty((len(block), blocks.shape[2]))
    for start in range(0, len(block), _PAIRS):
        part = slice(start, start + _PAIRS)
        away = blocks[:, block[part]] - colors[:, color[part], None]
        # The distance and below it the label: the least key is that of the lowest of the nearest.
        keys[part] = (away**2).sum(axis=0) * 2**16 + labels[color[part], None]
    first = np.searchsorted(block, np.arange(blocks.shape[1]))
    return np.minimum.reduceat(keys, first, axis=0).astype(np.int64) & 0xFFFF
