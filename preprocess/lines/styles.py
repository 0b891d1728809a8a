"""The line styles by name, and the edge maps of an image in several of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from preprocess.lines.canny import to_edges
from preprocess.recipe import Recipe

# Takes rgb uint8 [S, S, 3], labels [S, S], the lines of the image's own drawing (uint8 [S, S] in {0, 1}, or
# None if it has no drawing) and the recipe. Returns uint8 [S, S] in {0, 1}.
LineStyle = Callable[[np.ndarray, np.ndarray, np.ndarray | None, Recipe], np.ndarray]

LINE_STYLES: dict[str, LineStyle] = {
    "canny": lambda rgb, labels, drawing_lines, recipe: to_edges(rgb, recipe),
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
    """
    return np.stack([LINE_STYLES[style](rgb, labels, drawing_lines, recipe) for style in styles])
