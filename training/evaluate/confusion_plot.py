"""Draws the confusion matrix of a network, with the colours along both axes (confusion.png)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tfrecords_schema import Palette
from training.metrics.color_spaces import to_oklab

TEXT, PAPER = "#46464a", "#fbfaf7"
MAX_COLORS = 64  # the commonest ones; more would be too small to see
MAX_NUMBERED = 32  # colours; with more, cells have no room for a number
MIN_CHROMA = 0.03  # in OKLab; colours below are sorted as greys


def write_confusion(path: Path, confusion: np.ndarray, palette: Palette) -> None:
    """Draws a confusion matrix, in percent of the pixels of each true colour.

    Args:
      path: path of the picture.
      confusion: number of pixels by true and predicted label, integers [K, K].
      palette: palette of K colours.
    """
    order = _drawn_labels(confusion, palette.rgb)
    pixels = confusion.sum(1)
    fractions = confusion[np.ix_(order, order)] / np.maximum(pixels[order, None], 1)
    side = 4 + 0.28 * min(len(order), 36)  # inches
    figure = Figure(figsize=(side + 1, side + 0.6), dpi=110, facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(
        f"Confusion matrix: {len(order)} of {len(palette)} colours, in % of the pixels of each row",
        fontsize=11, color=TEXT,
    )  # fmt: skip
    grid = {"width_ratios": [1, len(order)], "height_ratios": [len(order), 1]}
    (left, center), (corner, below) = figure.subplots(2, 2, gridspec_kw=grid)
    center.imshow(fractions, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    _frame_diagonal(center, len(order))
    _write_numbers(center, fractions)
    _clear(center)
    left.imshow(palette.rgb[order][:, None], aspect="auto")
    _clear(left)
    left.set_yticks(
        range(len(order)), [_percent(fraction) for fraction in pixels[order] / pixels.sum()], fontsize=8
    )
    left.set_ylabel("true colour, in % of all pixels", color=TEXT)
    below.imshow(palette.rgb[order][None], aspect="auto")
    _clear(below)
    below.set_xlabel("predicted colour", color=TEXT)
    corner.set_axis_off()
    figure.savefig(path)


def _drawn_labels(confusion: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """Returns the commonest labels, true or predicted: greys from dark to light, then colours by hue."""
    counts = confusion.sum(0) + confusion.sum(1)
    labels = np.argsort(-counts, kind="stable")[:MAX_COLORS]
    labels = labels[counts[labels] > 0]
    lightness, a, b = to_oklab(rgb[labels]).T
    is_colored = np.hypot(a, b) > MIN_CHROMA
    hue = np.arctan2(b, a) % (2 * np.pi)  # 0 is between magenta and red
    return labels[np.lexsort((lightness, is_colored * hue, is_colored))]


def _percent(fraction: float) -> str:
    return "<0.1%" if 0 < fraction < 0.0005 else f"{fraction:.1%}"


def _frame_diagonal(axis: Axes, count: int) -> None:
    for index in range(count):
        axis.add_patch(
            Rectangle((index - 0.5, index - 0.5), 1, 1, fill=False, edgecolor="#c4572f", linewidth=0.8)
        )


def _write_numbers(axis: Axes, fractions: np.ndarray) -> None:
    if len(fractions) > MAX_NUMBERED:
        return
    for (row, column), fraction in np.ndenumerate(fractions):
        if fraction >= 0.005:
            color = "white" if fraction > 0.5 else TEXT
            axis.text(column, row, f"{100 * fraction:.0f}", ha="center", va="center", fontsize=8, color=color)


def _clear(axis: Axes) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    axis.tick_params(length=0, labelcolor=TEXT)
    for spine in axis.spines.values():
        spine.set_color("#cfccc3")
