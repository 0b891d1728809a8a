"""One image file's bytes in, (edges, labels) out: the recipe carried out, step by step."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from preprocess.decode import Rejected, decode
from preprocess.edges import to_edges
from preprocess.posterize import to_labels
from preprocess.recipe import Recipe

_INTERPOLATION = {"area": cv2.INTER_AREA, "bilinear": cv2.INTER_LINEAR}


def transform(data: bytes, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """Carries out the recipe on the bytes of one image file.

    Returns:
      edges uint8 [S, S] in {0, 1}; labels [S, S], uint8 or uint16, in 0..K-1.

    Raises:
      Rejected: the image is left out; see `decode`, and reason `constant`.
    """
    rgb = to_pixels(data, recipe)
    return to_edges(rgb, recipe), to_labels(rgb, recipe.palette)


def to_pixels(data: bytes, recipe: Recipe) -> np.ndarray:
    """What edges and labels are made from: decoded, square and stretched, uint8 [S, S, 3].

    Raises:
      Rejected: see `transform`.
    """
    rgb = decode(data, recipe.image_size, recipe.max_pixels, recipe.decode == "reduced")
    return stretch(resize(rgb, recipe))


def resize(rgb: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Fits `rgb`, uint8 [H, W, 3], into the square: uint8 [S, S, 3]."""
    if recipe.fit == "crop":
        rgb = centre_square(rgb)
    size = (recipe.image_size, recipe.image_size)
    return cv2.resize(rgb, size, interpolation=_INTERPOLATION[recipe.resize])


def centre_square(rgb: np.ndarray) -> np.ndarray:
    """The largest square in the middle of `rgb`, [H, W, 3]."""
    height, width = rgb.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return rgb[top : top + side, left : left + side]


def stretch(rgb: np.ndarray) -> np.ndarray:
    """Min-max normalises uint8 pixels to 0..255, over all channels together.

    Raises:
      Rejected: `constant`, when there is but one value to stretch.
    """
    low, high = int(rgb.min()), int(rgb.max())
    if low == high:
        raise Rejected("constant", f"every pixel is {low}")
    if (low, high) == (0, 255):
        return rgb
    return cv2.LUT(rgb, _stretching(low, high))


@lru_cache
def _stretching(low: int, high: int) -> np.ndarray:
    """What each of the 256 values becomes, uint8 [256]."""
    return np.clip(np.rint((np.arange(256) - low) * (255 / (high - low))), 0, 255).astype(np.uint8)
