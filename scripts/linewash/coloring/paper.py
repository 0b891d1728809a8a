"""Finds the paper around the figures of a drawing, and decides whether it stays paper or is painted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Background = Literal["auto", "paper", "paint", "transparent"]

MIN_BORDER = 0.85  # a ground that holds less of the image's border is closed by the border: a scene ...
MIN_FIGURE = 0.01  # ... and so is one beside which lines enclose less than this fraction of the image
MIN_GROUND = 0.1  # around a figure there is at least this fraction of paper; a frame has a margin only


@dataclass(frozen=True)
class Ground:
    """What lies around the figures of a drawing.

    areas: int [N], the numbers of the areas that hold the corners of the image.
    border: the fraction of the border of the image that the largest of them holds.
    size: their fraction of the image.
    """

    areas: np.ndarray
    border: float
    size: float

    @classmethod
    def find(cls, regions: np.ndarray) -> Ground:
        """Finds the ground among areas, int32 [H, W]."""
        corners = regions[[0, 0, -1, -1], [0, -1, 0, -1]]
        border = np.concatenate([regions[0], regions[-1], regions[1:-1, 0], regions[1:-1, -1]])
        sizes = np.bincount(border)
        areas = np.unique(corners)
        return cls(areas, float(sizes[areas].max() / len(border)), float(np.isin(regions, areas).mean()))

    @property
    def is_paper(self) -> bool:
        """Whether lines, and not the border of the image, close the figures."""
        return self.border >= MIN_BORDER and self.size <= 1 - MIN_FIGURE

    @property
    def is_around_figure(self) -> bool:
        """Whether the ground is more than the margin around a frame."""
        return self.size >= MIN_GROUND
