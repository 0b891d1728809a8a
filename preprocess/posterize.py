"""RGB pixels in, palette labels out: what the model learns to say."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from preprocess.oklab import to_oklab_units
from tfrecords_schema import Palette

_BLOCK = 8  # side of the blocks into which the colour cube is cut while its table is made


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
    return cube_table(palette)[(red.astype(np.int32) << 16) | (green.astype(np.int32) << 8) | blue]


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


@lru_cache(maxsize=1)
def cube_table(palette: Palette) -> np.ndarray:
    """The nearest label in OKLab of every one of the 2^24 colours, [2^24] in the order of 0xRRGGBB.

    The cube is cut into blocks. A colour can only be nearest to some point of a block when it is no farther
    from the block's centre than the nearest one is, plus the block's diameter: that leaves a handful.
    """
    colors = to_oklab_units(palette.rgb)
    table = np.empty((256, 256, 256), palette.label_dtype)
    green, blue = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8), indexing="ij")
    for red in range(0, 256, _BLOCK):
        slab = np.empty((_BLOCK, 256, 256, 3), np.uint8)
        slab[..., 0] = np.arange(red, red + _BLOCK, dtype=np.uint8)[:, None, None]
        slab[..., 1], slab[..., 2] = green, blue
        labels = _nearest_in_blocks(_to_blocks(to_oklab_units(slab)), colors)
        table[red : red + _BLOCK] = _from_blocks(labels)
    return table.reshape(-1)


def _to_blocks(slab: np.ndarray) -> np.ndarray:
    """[8, 256, 256, 3] to [1024, 512, 3]: a row a block, a column a point of it."""
    cut = slab.reshape(_BLOCK, 256 // _BLOCK, _BLOCK, 256 // _BLOCK, _BLOCK, 3)
    return cut.transpose(1, 3, 0, 2, 4, 5).reshape(-1, _BLOCK**3, 3)


def _from_blocks(blocks: np.ndarray) -> np.ndarray:
    """[1024, 512] to [8, 256, 256], the inverse of `_to_blocks`."""
    across = 256 // _BLOCK
    cut = blocks.reshape(across, across, _BLOCK, _BLOCK, _BLOCK)
    return cut.transpose(2, 0, 3, 1, 4).reshape(_BLOCK, 256, 256)


def _nearest_in_blocks(points: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """The index in `colors`, int32 [K, 3], nearest to each of `points`, int32 [B, P, 3]: int32 [B, P]."""
    centres = points[:, points.shape[1] // 2 + _BLOCK**2 // 2 + _BLOCK // 2]  # its middle, more or less
    radii = np.sqrt(_squared(points - centres[:, None]).max(axis=1))
    distances = np.sqrt(_squared(centres[:, None] - colors))
    bound = distances.min(axis=1) + 2 * radii + 1  # one unit, so that rounding loses nothing
    order = np.argsort(distances, axis=1, kind="stable")
    candidates = (distances <= bound[:, None]).sum(axis=1)
    best = np.full(points.shape[:2], np.iinfo(np.int32).max, np.int32)
    labels = np.zeros(points.shape[:2], np.int32)
    for rank in range(candidates.max()):
        blocks = np.flatnonzero(candidates > rank)
        candidate = order[blocks, rank].astype(np.int32)
        distance = _squared(points[blocks] - colors[candidate][:, None])
        label = candidate[:, None]
        nearer = (distance < best[blocks]) | ((distance == best[blocks]) & (label < labels[blocks]))
        best[blocks] = np.where(nearer, distance, best[blocks])
        labels[blocks] = np.where(nearer, label, labels[blocks])
    return labels


def _squared(differences: np.ndarray) -> np.ndarray:
    """Squared lengths of vectors, int32 [..., 3]; OKLab's span of 2^14 units leaves them below 2^31."""
    x, y, z = differences[..., 0], differences[..., 1], differences[..., 2]
    return x * x + y * y + z * z
