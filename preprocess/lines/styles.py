"""The line styles by name, and the edge maps of an image in several of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from preprocess.lines.borders import border_lines
from preprocess.lines.canny import coarse_edges, fine_edges, median_edges, smooth
from preprocess.lines.xdog import xdog_lines
from preprocess.recipe import Recipe


@dataclass(frozen=True)
class Picture:
    """What a line style is drawn from. What several styles need is computed once.

    rgb: uint8 [S, S, 3].
    labels: palette indices [S, S].
    drawing_lines: the lines of the image's own drawing, uint8 [S, S] in {0, 1}, or None if it has none.
    recipe: the settings of the styles.
    """

    rgb: np.ndarray
    labels: np.ndarray
    drawing_lines: np.ndarray | None
    recipe: Recipe

    @cached_property
    def grey(self) -> np.ndarray:
        """The brightness, uint8 [S, S]."""
        return cv2.cvtColor(self.rgb, cv2.COLOR_RGB2GRAY)


def _drawn_lines(picture: Picture) -> np.ndarray:
    """Returns the lines of the image's own drawing.

    Raises:
      ValueError: the image has no drawing.
    """
    if picture.drawing_lines is None:
        raise ValueError("the line style drawn needs a drawing, and this image has none")
    return picture.drawing_lines


# Each returns uint8 [S, S] in {0, 1}.
LINE_STYLES: dict[str, Callable[[Picture], np.ndarray]] = {
    "canny": lambda picture: median_edges(smooth(picture.grey, picture.recipe), picture.recipe.canny_spread),
    "canny_fine": lambda picture: fine_edges(picture.grey),
    "canny_coarse": lambda picture: coarse_edges(picture.grey),
    "xdog": lambda picture: xdog_lines(picture.grey),
    "borders": lambda picture: border_lines(picture.labels),
    "drawn": _drawn_lines,
}


def line_maps(
    styles: Sequence[str],
    rgb: np.ndarray,
    labels: np.ndarray,
    drawing_lines: np.ndarray | None,
    recipe: Recipe,
) -> np.ndarray:
    """Draws the lines of an image in each of `styles`.

    Args:
      styles: names of `LINE_STYLES`.
      rgb: uint8 [S, S, 3].
      labels: palette indices [S, S].
      drawing_lines: the lines of the image's own drawing, uint8 [S, S] in {0, 1}, or None if it has none.
      recipe: the settings of the styles.

    Returns:
      uint8 [L, S, S] in {0, 1}, in the order of `styles`.

    Raises:
      ValueError: one of the styles is `drawn`, and there is no drawing.
    """
    picture = Picture(rgb, labels, drawing_lines, recipe)
    return np.stack([LINE_STYLES[style](picture) for style in styles])
