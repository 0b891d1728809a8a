"""curves.png: loss and accuracy against epoch, with the trivial baselines as lines to be beaten.

And the curves of several runs in one picture.
"""

from __future__ import annotations

from pathlib import Path

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.atomic import replacing
from training.baselines import Baselines
from training.history import Epoch

TRAIN, VAL, BASELINE, TEXT = "#9db4c8", "#1f5a85", "#c4572f", "#46464a"

LOSS, ACCURACY = "cross-entropy (nats a pixel)", "accuracy (share of pixels)"


def write_curves(path: Path, history: list[Epoch], baselines: Baselines, title: str) -> None:
    """Draws the run so far; the file is replaced whole."""
    figure = Figure(figsize=(10, 4.2), dpi=130, facecolor="#fbfaf7", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2)
    figure.suptitle(title, fontsize=11, color=TEXT)
    _draw(axes[0], history, "loss", LOSS, baselines.loss, "palette shares alone")
    _draw(axes[1], history, "accuracy", ACCURACY, baselines.accuracy, "commonest colour")
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
    _dress(axis, score, label, numbers[-1])


def write_comparison(path: Path, runs: dict[str, tuple[list[float], list[float]]]) -> None:
    """Draws several runs into one picture: to each name its losses and accuracies, one an epoch."""
    figure = Figure(figsize=(10, 4.2 + 0.11 * len(runs)), dpi=130, facecolor="#fbfaf7", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2)
    epochs = max(len(losses) for losses, _ in runs.values())
    for axis, score, label, which in zip(axes, ("loss", "accuracy"), (LOSS, ACCURACY), (0, 1), strict=True):
        for place, (name, curves) in enumerate(runs.items()):
            color = colormaps["turbo"](0.08 + 0.84 * place / max(1, len(runs) - 1))
            numbers = range(1, len(curves[which]) + 1)
            axis.plot(
                numbers, curves[which], color=color, marker="o", markersize=3, linewidth=1.8, label=name
            )
        _dress(axis, score, label, epochs)
        axis.get_legend().remove()
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4,
        frameon=False, fontsize=9, labelcolor=TEXT,
    )  # fmt: skip
    with replacing(path) as temporary:
        figure.savefig(temporary)


def _dress(axis: Axes, score: str, label: str, epochs: int) -> None:
    """Scales, grid, colours and legend."""
    axis.set_xlabel("epoch", color=TEXT)
    axis.set_title(label, fontsize=10, color=TEXT, loc="left")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axis.set_xlim(0.8, max(epochs, 2) + 0.2)
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
