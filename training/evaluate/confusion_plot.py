"""confusion.png: which colours a network takes for which."""

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
MOST_SHOWN = 64  # colours: the commonest ones; more would be too small to see
MOST_NUMBERED = 32  # colours whose cells have room for a number
GREY = 0.03  # chroma in OKLab below which a colour has no hue worth sorting by


def write_confusion(path: Path, confusion: np.ndarray, palette: Palette) -> None:
    """Draws the rows' shares, with the colours themselves along both axes.

    Args:
      confusion: pixels by true and predicted label, integers [K, K].
    """
    shown = _shown(confusion, palette.rgb)
    table = confusion[np.ix_(shown, shown)]
    pixels = confusion.sum(1)
    shares = table / np.maximum(pixels[shown, None], 1)
    side = 4 + 0.28 * min(len(shown), 36)  # inches
    figure = Figure(figsize=(side + 1, side + 0.6), dpi=110, facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(
        f"Which colours are taken for which: {len(shown)} of {len(palette)}, in % of each row's pixels",
        fontsize=11, color=TEXT,
    )  # fmt: skip
    grid = {"width_ratios": [1, len(shown)], "height_ratios": [len(shown), 1]}
    (left, center), (corner, below) = figure.subplots(2, 2, gridspec_kw=grid)
    center.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    _frame_diagonal(center, len(shown))
    _write_numbers(center, shares)
    _clear(center)
    left.imshow(palette.rgb[shown][:, None], aspect="auto")
    _clear(left)
    left.set_yticks(
        range(len(shown)), [_percent(share) for share in pixels[shown] / pixels.sum()], fontsize=8
    )
    left.set_ylabel("true colour, and its share of the pixels", color=TEXT)
    below.imshow(palette.rgb[shown][None], aspect="auto")
    _clear(below)
    below.set_xlabel("predicted colour", color=TEXT)
    corner.set_axis_off()
    figure.savefig(path)


def _shown(confusion: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """Palette indices of colours that occur or are predicted: greys from dark to light, then by hue."""
    met = confusion.sum(0) + confusion.sum(1)
    commonest = np.argsort(-met, kind="stable")[:MOST_SHOWN]
    commonest = commonest[met[commonest] > 0]
    light, a, b = to_oklab(rgb[commonest]).T
    is_colored = np.hypot(a, b) > GREY
    hue = np.arctan2(b, a) % (2 * np.pi)  # 0 is between magenta and red
    return commonest[np.lexsort((light, is_colored * hue, is_colored))]


def _percent(share: float) -> str:
    return "<0.1%" if 0 < share < 0.0005 else f"{share:.1%}"


def _frame_diagonal(axis: Axes, count: int) -> None:
    for place in range(count):
        axis.add_patch(
            Rectangle((place - 0.5, place - 0.5), 1, 1, fill=False, edgecolor="#c4572f", linewidth=0.8)
        )


def _write_numbers(axis: Axes, shares: np.ndarray) -> None:
    if len(shares) > MOST_NUMBERED:
        return
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.005:
            color = "white" if share > 0.5 else TEXT
            axis.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=8, color=color)


def _clear(axis: Axes) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    axis.tick_params(length=0, labelcolor=TEXT)
    for spine in axis.spines.values():
        spine.set_color("#cfccc3")
