"""Finds the paper around the figures of a drawing, and decides whether it stays paper or is painted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Background = Literal["auto", "paper", "paint", "transparent"]

MIN_BORDER = 0.85  # a ground that holds less of the image's border is closed by the border: a scene ...
MIN_FIGURE = 0.01  # ... and so is one beside which lines enclose less than this fraction of the image
# A figure that is cropped to its outline touches top and bottom, so that left and right corners lie in
# different areas. So may the lines of a scene, but they are more. Of 246 drawings of Openclipart 85 % count
# as figures on paper, in place of 62 % without this rule, and of 100 storybook scenes 4 %.
MAX_CROSSINGS = 9  # of lines over the border of the image
MIN_CORNERS = 0.5  # fraction of the border that the areas of the corners hold
MIN_GROUND = 0.1  # around a figure there is at least this fraction of paper; a frame has a margin only


@dataclass(frozen=True)
class Ground:
    """What lies around the figures of a drawing.

    areas: int [N], the numbers of the areas that hold the corners of the image.
    border: the fraction of the border of the image that the largest of them holds.
    all_borders: the fraction that all of them hold.
    is_divided: whether the left corners lie in other areas than the right ones.
    crossings: how often one area ends on the border of the image and another one begins.
    size: their fraction of the image.
    """

    areas: np.ndarray
    border: float
    all_borders: float
    is_divided: bool
    crossings: int
    size: float

    @classmethod
    def find(cls, regions: np.ndarray) -> Ground:
        """Finds the ground among areas, int32 [H, W]."""
        corners = regions[[0, -1]][:, [0, -1]]
        areas = np.unique(corners)
        border = np.concatenate([regions[0], regions[1:-1, -1], regions[-1, ::-1], regions[-2:0:-1, 0]])
        fractions = np.bincount(border)[areas] / len(border)
        crossings = int((border != np.roll(border, 1)).sum())
        size = float(np.isin(regions, areas).mean())
        is_divided = bool((corners[:, 0] != corners[:, 1]).all())
        return cls(areas, float(fractions.max()), float(fractions.sum()), is_divided, crossings, size)

    @property
    def is_paper(self) -> bool:
        """Whether lines, and not the border of the image, close the figures."""
        is_cropped = self.is_divided and self.crossings <= MAX_CROSSINGS and self.all_borders >= MIN_CORNERS
        return (self.border >= MIN_BORDER or is_cropped) and self.size <= 1 - MIN_FIGURE

    @property
    def is_around_figure(self) -> bool:
        """Whether the ground is more than the margin around a frame."""
        return self.size >= MIN_GROUND
