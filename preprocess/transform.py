"""One image file's bytes in, (edges, labels) out: the recipe carried out, step by step."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from preprocess.decode import decode
from preprocess.lines.canny import to_edges
from preprocess.posterize import to_labels
from preprocess.recipe import Recipe
from preprocess.rejects import Rejected

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
    return stretch(resize(rgb, recipe), truncate=recipe.stretch == "truncate")


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


def stretch(rgb: np.ndarray, truncate: bool = False) -> np.ndarray:
    """Min-max normalises pixels to 0..255, over all channels together.

    Args:
      rgb: uint8 [H, W, 3].
      truncate: drops fractions, as `astype(uint8)` in the article does; otherwise rounds them.

    Raises:
      Rejected: `constant`, when all pixels have one colour: there is nothing to draw.
    """
    if not (rgb != rgb[0, 0]).any():
        red, green, blue = rgb[0, 0].tolist()
        raise Rejected("constant", f"every pixel is ({red}, {green}, {blue})")
    low, high = int(rgb.min()), int(rgb.max())
    if (low, high) == (0, 255):  # every value becomes itself, truncated or rounded
        return rgb
    return cv2.LUT(rgb, _stretching(low, high, truncate))


@lru_cache
def _stretching(low: int, high: int, truncate: bool) -> np.ndarray:
    """What each of the 256 values becomes, uint8 [256]."""
    above = np.arange(256) - low
    # Truncated, the article's order of operations decides which fractions fall just below a whole number.
    stretched = above / (high - low) * 255 if truncate else np.rint(above * (255 / (high - low)))
    return np.clip(stretched, 0, 255).astype(np.uint8)
