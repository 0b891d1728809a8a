"""Puts images with transparency on a white or a black background, whichever shows the drawing."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

from preprocess.lines.stroke_detection import (
    find_strokes,
    reference_side,
    remove_shading,
    resize_grey,
    to_grey,
)
from preprocess.lines.thinning import thin
from preprocess.nearest_pixel import fill_from_nearest

STRIP_ROWS = 512  # rows processed at a time, because intermediate results take several times the memory
OPAQUE_ALPHA = 128  # alpha from which a pixel counts as drawn

COMPARISON_SIDE = 512  # px of the reference side at which white and black backgrounds are compared
MAX_STROKE_RADIUS = 0.02  # as a fraction of the reference side; anything broader is an area
BORDER_DEPTH = 4  # px at that size: depth of the border of an area
MIN_STROKES = 0.03  # strokes shorter than this fraction of a light border's length do not matter
BLACK_FACTOR = 1.5  # a black background must show this many times the strokes that white shows
FRINGE = 0.9  # a pixel with less than this fraction of its neighbours' alpha belongs to the rim of a stroke


def flatten(rgba: np.ndarray, background: int | None = None) -> np.ndarray:
    """Composites uint8 [H, W, 4] over a background.

    Args:
      background: 255 for white, 0 for black, or None to call `choose_background`.

    Returns:
      uint8 [H, W, 3].
    """
    if background is None:
        background = choose_background(rgba)
    rgb = np.empty((*rgba.shape[:2], 3), np.uint8)
    for top in range(0, len(rgba), STRIP_ROWS):
        strip = rgba[top : top + STRIP_ROWS]
        alpha = strip[..., 3:].astype(np.uint16)
        rgb[top : top + STRIP_ROWS] = (strip[..., :3] * alpha + background * (255 - alpha) + 127) // 255
    return rgb


def choose_background(rgba: np.ndarray) -> int:
    """Returns the background for which uint8 [H, W, 4] was drawn: 255 for white or 0 for black.

    Strokes on transparency get white unless black clearly shows more of them: light strokes, made for dark
    screens, are invisible on white. Areas broader than strokes (paper with transparent margins, a sticker, a
    blackboard) bring a background of their own; see `_is_better_on_black`.
    """
    if rgba[..., 3].min() == 255:
        return 255
    small = shrink(rgba, reference_side(rgba.shape[:2]) // COMPARISON_SIDE)
    colors, alpha = _remove_fringe(small), small[..., 3]
    length_on_white = _stroke_length(_composite(colors, alpha, 255), dark_on_light=True)
    length_on_black = _stroke_length(_composite(colors, alpha, 0), dark_on_light=False)
    depth = cv2.distanceTransform((alpha >= OPAQUE_ALPHA).astype(np.uint8), cv2.DIST_L2, 5)
    if _is_mostly_broad(depth, MAX_STROKE_RADIUS * reference_side(alpha.shape)):
        grey = to_grey(np.ascontiguousarray(colors), True)
        return 0 if _is_better_on_black(grey, depth, length_on_white, length_on_black) else 255
    return 0 if length_on_black > BLACK_FACTOR * length_on_white else 255


def shrink(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Shrinks uint8 [H, W, 3 or 4] by a factor; means of colours are weighted by alpha."""
    if factor < 2:
        return pixels
    rows = max(STRIP_ROWS // factor, 1) * factor
    strips = (pixels[top : top + rows] for top in range(0, len(pixels), rows))
    return np.concatenate([np.asarray(Image.fromarray(strip).reduce(factor)) for strip in strips])


def shrink_to(rgb: np.ndarray, side: int) -> np.ndarray:
    """Shrinks uint8 [H, W, 3] until its longer side has at most `side` pixels."""
    height, width = rgb.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return rgb
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)


def _remove_fringe(rgba: np.ndarray) -> np.ndarray:
    """Returns the colours of uint8 [H, W, 4] with the rims of strokes in the colour of their middle.

    The colour of a rim may be darkened (premultiplied alpha) or arbitrary.

    Returns:
      uint8 [H, W, 3].
    """
    alpha = rgba[..., 3]
    rim = alpha < FRINGE * cv2.dilate(alpha, np.ones((5, 5), np.uint8)).astype(np.float32)
    return _fill_colors(rgba[..., :3], ~rim & (alpha > 0))


def _fill_colors(colors: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Replaces each colour of uint8 [H, W, 3] by that of the nearest pixel that is `known`, bool [H, W]."""
    indices = np.arange(known.size, dtype=np.int32).reshape(known.shape)
    return colors.reshape(-1, 3)[fill_from_nearest(indices, known)]


def _is_mostly_broad(depth: np.ndarray, radius: float) -> bool:
    """Returns whether most of the drawn pixels belong to areas broader than 2 x `radius`.

    Args:
      depth: float32 [H, W], distance in pixels to the nearest transparent pixel.
    """
    cores = (depth > radius).astype(np.uint8)
    broad = cv2.distanceTransform(1 - cores, cv2.DIST_L2, 5) <= radius
    return bool(cores.any() and (broad & (depth > 0)).sum() > (depth > 0).sum() / 2)


def _is_better_on_black(
    grey: np.ndarray, depth: np.ndarray, length_on_white: float, length_on_black: float
) -> bool:
    """Returns whether broad areas, such as a blackboard, belong on a black background.

    A border whose brightness equals the background disappears. That is right for light paper or for a
    sticker with a white border if dark strokes lie on it, and for a blackboard with light strokes.

    Args:
      grey: float32 [H, W], 0 to 1.
      depth: float32 [H, W], distance in pixels to the nearest transparent pixel.
      length_on_white, length_on_black: length in pixels of the strokes that are visible on each background.
    """
    scale = max(1.0, COMPARISON_SIDE / reference_side(grey.shape))
    border = ((depth > 0) & (depth < 2)).sum() * scale
    has_light_border = np.median(grey[(depth > 0) & (depth < BORDER_DEPTH)]) > 0.5
    low, middle, high = np.percentile(grey[depth > 0], (0.5, 50, 99.5))
    if has_light_border:
        return bool(length_on_white < MIN_STROKES * border and length_on_black > length_on_white)
    return bool(middle - low < high - middle and length_on_black > border / 2)


def _composite(colors: np.ndarray, alpha: np.ndarray, background: int) -> np.ndarray:
    opacity = alpha[..., None] / np.float32(255)
    return np.rint(background + (colors - np.float32(background)) * opacity).astype(np.uint8)


def _stroke_length(rgb: np.ndarray, dark_on_light: bool) -> float:
    """Returns the length in pixels of the centre lines of all thin strokes on uint8 [H, W, 3]."""
    scale = COMPARISON_SIDE / reference_side(rgb.shape[:2])
    height, width = (round(side * max(scale, 1.0)) for side in rgb.shape[:2])
    strokes = find_strokes(remove_shading(resize_grey(to_grey(rgb, dark_on_light), height, width)))
    broad = cv2.distanceTransform(strokes, cv2.DIST_L2, 5) > MAX_STROKE_RADIUS * reference_side(strokes.shape)
    thin_lines = (thin(strokes) == 1) & ~broad
    # A drawing that is visible as an area only has no thin strokes, but counts for more than an empty one.
    return float(thin_lines.sum() + strokes.any())
