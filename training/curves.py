"""curves.png: loss and accuracy against epoch, with the trivial baselines as lines to be beaten."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.atomic import replacing
from training.baselines import Baselines
from training.history import Epoch

TRAIN, VAL, BASELINE, TEXT = "#9db4c8", "#1f5a85", "#c4572f", "#46464a"


def write_curves(path: Path, history: list[Epoch], baselines: Baselines, title: str) -> None:
    """Draws the run so far; the file is replaced whole."""
    figure = Figure(figsize=(10, 4.2), dpi=130, facecolor="#fbfaf7", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2)
    figure.suptitle(title, fontsize=11, color=TEXT)
    _draw(axes[0], history, "loss", "cross-entropy (nats a pixel)", baselines.loss, "palette shares alone")
    _draw(axes[1], history, "accuracy", "accuracy (share of pixels)", baselines.accuracy, "commonest colour")
    with replacing(path) as temporary:
        figure.savefig(temporary)


def _draw(
    axis: Axes, history: list[Epoch], score: str, label: str, baseline: float, baseline_name: str
) -> None:
    numbers = [epoch.number for epoch in history]
    train = [getattr(epoch.train, score) for epoch in history]
    axis.plot(numbers, train, color=TRAIN, marker="o", markersize=4, linewidth=1.8, label="train")
    if all(epoch.val for epoch in history):
        val = [getattr(epoch.val, score) for epoch in history]
        axis.plot(numbers, val, color=VAL, marker="o", markersize=4, linewidth=2.2, label="validation")
        axis.annotate(
            f"{val[-1]:.3f}", (numbers[-1], val[-1]), textcoords="offset points", xytext=(8, -3),
            color=VAL, fontsize=10, fontweight="bold", annotation_clip=False,
        )  # fmt: skip
    axis.axhline(
        baseline,
        color=BASELINE,
        linestyle=(0, (5, 3)),
        linewidth=1.4,
        label=f"{baseline_name}: {baseline:.3f}",
    )
    axis.set_xlabel("epoch", color=TEXT)
    axis.set_title(label, fontsize=10, color=TEXT, loc="left")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axis.set_xlim(0.8, max(numbers[-1], 2) + 0.2)
    if score == "accuracy":
        axis.set_ylim(0, 1)
    axis.grid(axis="y", color="#e4e1d8", linewidth=0.8)
    axis.tick_params(colors=TEXT, labelsize=9)
    axis.set_facecolor("#ffffff")
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axis.spines[side].set_color("#cfccc3")
    axis.legend(frameon=False, fontsize=9, labelcolor=TEXT)
