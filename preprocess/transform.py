"""Converts an image file to edges and labels, as the recipe says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from preprocess.flats import flats, thin_ink
from preprocess.lines.drawn import NoLinesError, find_lines, resize_lines
from preprocess.lines.stroke_detection import is_dark_on_light
from preprocess.lines.styles import line_maps
from preprocess.pixels import read_pixels
from preprocess.posterize import to_labels
from preprocess.recipe import Recipe
from preprocess.rejects import NO_DRAWING, Rejected


def transform(
    data: bytes,
    recipe: Recipe,
    drawing: bytes | None = None,
    end_stage: Callable[[str], None] = lambda stage: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Converts the bytes of an image file to edges and labels.

    Args:
      data: the bytes of the image.
      recipe: how it is converted.
      drawing: the bytes of the drawing whose colouring the image is.
      end_stage: called at the end of each stage with its name, see `stage_timer.STAGES`.

    Returns:
      edges: uint8 [L, S, S] in {0, 1}, one map for each of the recipe's line styles.
      labels: uint8 or uint16 [S, S] in 0..K-1. The labels of a drawing are flats, without its ink.

    Raises:
      Rejected: with reason `no_lines` or `no_drawing`, or a reason of `read_pixels`.
    """
    pixels = read_pixels(data, recipe, drawing)
    end_stage("decode")
    labels = to_labels(pixels.rgb, recipe.known_palette)
    end_stage("labels")
    drawing_lines = None
    if pixels.drawing is not None:
        drawing_lines, labels = _read_drawing(pixels.drawing, labels)
    elif "drawn" in recipe.lines:
        raise Rejected(NO_DRAWING, "the line style drawn needs a drawing, and this is a picture alone")
    edges = line_maps(recipe.lines, pixels.rgb, labels, drawing_lines, recipe)
    end_stage("lines")
    return edges, labels


def _read_drawing(rgb: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the lines of a drawing and the labels without its ink.

    Args:
      rgb: uint8 [D, D, 3].
      labels: [S, S].

    Returns:
      uint8 [S, S] in {0, 1}, and labels [S, S].
    """
    size = len(labels)
    try:
        lines, strokes = find_lines(rgb, is_dark_on_light(rgb))
    except NoLinesError as e:
        raise Rejected("no_lines", f"the drawing: {e}") from None
    return resize_lines(lines, size, size), flats(labels, thin_ink(strokes, size))
