"""Reads an image file, or a drawing and its colouring, as square pixels.

A photograph is stretched to 0..255, as in the article. The colours of art are exact: its white is paper and
stays 255, and a flat grey stays as dark as it is. So neither half of a pair is stretched.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache

import cv2
import numpy as np

from preprocess import svg
from preprocess.decode import decode
from preprocess.file_types import is_svg
from preprocess.oklab import to_oklab
from preprocess.recipe import SIDE_BY_SIDE, Recipe
from preprocess.rejects import Rejected

_INTERPOLATION = {"area": cv2.INTER_AREA, "bilinear": cv2.INTER_LINEAR}
MAX_DRAWING_SIDE = 512  # px at which a drawing is read, unless the labels are larger: that of a page
SVG_DRAWING_SIDES = 2  # the drawing of an SVG has this many times the side of its labels, ...
MIN_SVG_DRAWING = 256  # ... at least this many px, ...
MAX_SVG_DRAWING = 2048  # ... and at most this many
MAX_SVG_SIDES = 8  # longer side of a coloured SVG with a drawing of its own, in sides of the labels
MAX_ASPECT_RATIO = 1.05  # between the aspects of a drawing and of its colouring
MIN_COLORED_ART = 0.02  # the default of `min_colored` for pairs and SVGs
MIN_CHROMA = 0.04  # of a colour in OKLab; greys and the yellow of old paper are below it


@dataclasses.dataclass(frozen=True)
class Pixels:
    """What an image file shows, and the person's drawing that belongs to it.

    rgb: uint8 [S, S, 3].
    drawing: uint8 [D, D, 3], or None for a photograph.
    """

    rgb: np.ndarray
    drawing: np.ndarray | None = None


def read_pixels(data: bytes, recipe: Recipe, drawing: bytes | None = None) -> Pixels:
    """Decodes an image file, and the file of its drawing if there is one.

    Args:
      data: the bytes of the image.
      recipe: how it becomes square, and whether the image itself holds its drawing.
      drawing: the bytes of the drawing.

    Raises:
      Rejected: with a reason of `decode` or of `svg.draw_pair`, or `constant`, `aspect` or `colorless`.
    """
    if drawing is not None:
        pixels = _from_two_files(data, drawing, recipe)
    elif recipe.pairs in SIDE_BY_SIDE:
        pixels = _from_two_halves(data, recipe)
    elif is_svg(data):
        pixels = _from_svg(data, recipe)
    else:
        rgb = resize(decode(data, recipe.image_size, recipe.max_pixels, recipe.decode == "reduced"), recipe)
        pixels = Pixels(stretch(rgb, truncate=recipe.stretch == "truncate"))
    _check_colors(pixels, recipe)
    return pixels


def to_pixels(data: bytes, recipe: Recipe, drawing: bytes | None = None) -> np.ndarray:
    """Returns the pixels that labels are computed from, uint8 [S, S, 3]. See `read_pixels`."""
    return read_pixels(data, recipe, drawing).rgb


def _from_two_files(data: bytes, drawing: bytes, recipe: Recipe) -> Pixels:
    rgb = _decode(data, recipe)
    try:
        lines = _decode(drawing, recipe)
    except Rejected as e:
        raise Rejected(e.reason, f"the drawing: {e.detail}") from None
    (height, width), (lines_height, lines_width) = rgb.shape[:2], lines.shape[:2]
    ratio = width * lines_height / (height * lines_width)
    if max(ratio, 1 / ratio) > MAX_ASPECT_RATIO:
        raise Rejected("aspect", f"{width}x{height}, and the drawing is {lines_width}x{lines_height}")
    return Pixels(resize(rgb, recipe), _resize_drawing(lines, recipe))


def _from_two_halves(data: bytes, recipe: Recipe) -> Pixels:
    """Cuts an image into its left and right half. The middle column of an odd width belongs to neither."""
    both = _decode(data, recipe)
    width = both.shape[1] // 2
    if width < recipe.image_size:
        raise Rejected("too_small", f"two halves of {width} px, each needs {recipe.image_size} px a side")
    left, right = both[:, :width], both[:, both.shape[1] - width :]
    drawing, rgb = (left, right) if recipe.pairs == "drawing,color" else (right, left)
    return Pixels(resize(rgb, recipe), _resize_drawing(drawing, recipe))


def _from_svg(data: bytes, recipe: Recipe) -> Pixels:
    side = min(max(SVG_DRAWING_SIDES * recipe.image_size, MIN_SVG_DRAWING), MAX_SVG_DRAWING)
    drawing, colors = svg.draw_pair(data, recipe.fit, side, recipe.image_size)
    return Pixels(_decode(colors, recipe), _decode(drawing, recipe))


def _decode(data: bytes, recipe: Recipe) -> np.ndarray:
    """Decodes a file of a pair to uint8 [H, W, 3], JPEGs at their full size for the sake of thin lines."""
    size = recipe.image_size
    if is_svg(data):
        data = _draw_svg(data, size)
    return decode(data, size, recipe.max_pixels, reduced=False)


def _draw_svg(data: bytes, size: int) -> bytes:
    """Draws an SVG as a PNG whose shorter side has about 2 * `size` pixels."""
    side = 2 * size
    png = svg.draw_picture(data, side)
    shorter = min(int.from_bytes(png[i : i + 4], "big") for i in (16, 20))  # width and height in its header
    side = min(side * side // max(1, shorter), MAX_SVG_SIDES * size)
    return png if shorter == 2 * size else svg.draw_picture(data, side)


def _resize_drawing(rgb: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Makes a drawing, uint8 [H, W, 3], square: with the side at which a page of its size is read."""
    side = min(max(rgb.shape[:2]), max(MAX_DRAWING_SIDE, recipe.image_size))
    if recipe.fit == "crop":
        rgb = center_square(rgb)
    return cv2.resize(rgb, (side, side), interpolation=cv2.INTER_AREA)


def _check_colors(pixels: Pixels, recipe: Recipe) -> None:
    """Rejects art of one colour, and an image with too few pixels in colour."""
    if pixels.drawing is not None:
        _check_constant(pixels.rgb)
    min_colored = recipe.min_colored
    if min_colored is None:
        min_colored = 0.0 if pixels.drawing is None else MIN_COLORED_ART
    if min_colored:
        lab = to_oklab(pixels.rgb)
        fraction = float(np.mean(np.hypot(lab[..., 1], lab[..., 2]) > MIN_CHROMA))
        if fraction < min_colored:
            raise Rejected("colorless", f"{fraction:.3f} of the pixels have a colour, needs {min_colored}")


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
    _check_constant(rgb)
    low, high = int(rgb.min()), int(rgb.max())
    if (low, high) == (0, 255):  # the stretch would change nothing
        return rgb
    return cv2.LUT(rgb, _stretch_table(low, high, truncate))


def _check_constant(rgb: np.ndarray) -> None:
    if not (rgb != rgb[0, 0]).any():
        red, green, blue = rgb[0, 0].tolist()
        raise Rejected("constant", f"every pixel is ({red}, {green}, {blue})")


@lru_cache
def _stretch_table(low: int, high: int, truncate: bool) -> np.ndarray:
    """Returns the stretched value of each value, uint8 [256]."""
    above = np.arange(256) - low
    # Truncated values depend on rounding errors, so the order of operations is that of the article.
    stretched = above / (high - low) * 255 if truncate else np.rint(above * (255 / (high - low)))
    return np.clip(stretched, 0, 255).astype(np.uint8)
