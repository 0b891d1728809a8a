"""Converts an image file to edges and labels, as the recipe says."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

from preprocess.decode import decode
from preprocess.lines.styles import line_maps
from preprocess.posterize import to_labels
from preprocess.recipe import Recipe
from preprocess.rejects import Rejected

_INTERPOLATION = {"area": cv2.INTER_AREA, "bilinear": cv2.INTER_LINEAR}


def transform(
    data: bytes, recipe: Recipe, end_stage: Callable[[str], None] = lambda stage: None
) -> tuple[np.ndarray, np.ndarray]:
    """Converts the bytes of an image file to edges and labels.

    Args:
      data: the bytes of the file.
      recipe: how it is converted.
      end_stage: called at the end of each stage with its name, see `stage_timer.STAGES`.

    Returns:
      edges: uint8 [L, S, S] in {0, 1}, one map for each of the recipe's line styles.
      labels: uint8 or uint16 [S, S] in 0..K-1.

    Raises:
      Rejected: with reason `constant`, or a reason of `decode`.
    """
    rgb = to_pixels(data, recipe)
    end_stage("decode")
    labels = to_labels(rgb, recipe.known_palette)
    end_stage("labels")
    edges = line_maps(recipe.lines, rgb, labels, None, recipe)
    end_stage("lines")
    return edges, labels


def to_pixels(data: bytes, recipe: Recipe) -> np.ndarray:
    """Returns the pixels that edges and labels are computed from: square and stretched, uint8 [S, S, 3].

    Raises:
      Rejected: see `transform`.
    """
    rgb = decode(data, recipe.image_size, recipe.max_pixels, recipe.decode == "reduced")
    return stretch(resize(rgb, recipe), truncate=recipe.stretch == "truncate")


def resize(rgb: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Resizes `rgb`, uint8 [H, W, 3], to a square, uint8 [S, S, 3]."""
    if recipe.fit == "crop":
        rgb = center_square(rgb)
    size = (recipe.image_size, recipe.image_size)
    return cv2.resize(rgb, size, interpolation=_INTERPOLATION[recipe.resize])


def center_square(rgb: np.ndarray) -> np.ndarray:
    """Crops `rgb`, [H, W, 3], to the largest square at its center."""
    height, width = rgb.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return rgb[top : top + side, left : left + side]


def stretch(rgb: np.ndarray, truncate: bool = False) -> np.ndarray:
    """Stretches pixels to 0..255 by the minimum and maximum of all channels together.

    Args:
      rgb: uint8 [H, W, 3].
      truncate: truncates fractions, as `astype(uint8)` in the article does. Otherwise they are rounded.

    Raises:
      Rejected: with reason `constant`, if all pixels have the same colour.
    """
    if not (rgb != rgb[0, 0]).any():
        red, green, blue = rgb[0, 0].tolist()
        raise Rejected("constant", f"every pixel is ({red}, {green}, {blue})")
    low, high = int(rgb.min()), int(rgb.max())
    if (low, high) == (0, 255):  # the stretch would change nothing
        return rgb
    return cv2.LUT(rgb, _stretch_table(low, high, truncate))


@lru_cache
def _stretch_table(low: int, high: int, truncate: bool) -> np.ndarray:
    """Returns the stretched value of each value, uint8 [256]."""
    above = np.arange(256) - low
    # Truncated values depend on rounding errors, so the order of operations is that of the article.
    stretched = above / (high - low) * 255 if truncate else np.rint(above * (255 / (high - low)))
    return np.clip(stretched, 0, 255).astype(np.uint8)
