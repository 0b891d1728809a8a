"""curves.png: the scores against epoch, with the trivial baselines as lines to be beaten.

And the curves of several runs in one picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.atomic_files import atomic_write
from training.metrics.baselines import Baselines
from training.run.history import Epoch

TRAIN, VAL, BASELINE, TEXT = "#9db4c8", "#1f5a85", "#c4572f", "#46464a"

LOSS, ACCURACY = "cross-entropy (nats a pixel)", "accuracy (share of pixels)"


@dataclass(frozen=True)
class Plot:
    """A score against epoch, and its baseline; `beside` are validation's scores on the same scale."""

    score: str
    label: str
    baseline: str
    digits: int
    beside: dict[str, str]


PLOTS = (
    Plot("loss", "cross-entropy (nats a pixel)", "palette shares alone", 3, {}),
    Plot(
        "accuracy", "accuracy (share of pixels)", "commonest colour", 3,
        {"top3_accuracy": "among the likeliest 3", "balanced_accuracy": "mean over colours"},
    ),
    Plot("delta_e", "colour difference (CIEDE2000)", "commonest colour", 2, {}),
)  # fmt: skip


def write_curves(path: Path, history: list[Epoch], baselines: Baselines, title: str) -> None:
    """Draws the run so far; the file is replaced whole."""
    shown = [plot for plot in PLOTS if getattr(history[-1].judged_by, plot.score) is not None]
    figure = Figure(figsize=(5 * len(shown), 4.2), dpi=130, facecolor="#fbfaf7", layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(_verbatim(title), fontsize=11, color=TEXT)
    for axis, plot in zip(figure.subplots(1, len(shown)), shown, strict=True):
        _draw(axis, history, plot, getattr(baselines, plot.score))
    with atomic_write(path) as temporary:
        figure.savefig(temporary)


def _draw(axis: Axes, history: list[Epoch], plot: Plot, baseline: float) -> None:
    numbers = [epoch.number for epoch in history]
    if train := _values(history, "train", plot.score):
        axis.plot(numbers, train, color=TRAIN, marker="o", markersize=4, linewidth=1.8, label="train")
    for (score, name), style in zip(plot.beside.items(), ("-.", ":"), strict=False):
        if values := _values(history, "val", score):
            axis.plot(
                numbers, values, color=VAL, marker=".", linewidth=1, linestyle=style,
                label=f"validation, {name}",
            )  # fmt: skip
    if val := _values(history, "val", plot.score):
        axis.plot(numbers, val, color=VAL, marker="o", markersize=4, linewidth=2.2, label="validation")
        axis.annotate(
            f"{val[-1]:.{plot.digits}f}", (numbers[-1], val[-1]), textcoords="offset points", xytext=(8, -3),
            color=VAL, fontsize=10, fontweight="bold", annotation_clip=False,
        )  # fmt: skip
    axis.axhline(
        baseline,
        color=BASELINE,
        linestyle=(0, (5, 3)),
        linewidth=1.4,
        label=f"{plot.baseline}: {baseline:.{plot.digits}f}",
    )
    _dress(axis, plot.score, plot.label, numbers[-1])


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
            label_of = _verbatim(name)
            axis.plot(
                numbers, curves[which], color=color, marker="o", markersize=3, linewidth=1.8, label=label_of
            )
        _dress(axis, score, label, epochs)
        axis.get_legend().remove()
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4,
        frameon=False, fontsize=9, labelcolor=TEXT,
    )  # fmt: skip
    with atomic_write(path) as temporary:
        figure.savefig(temporary)


def _verbatim(name: str) -> str:
    """A name for matplotlib, which would read `$` as mathematics and leave `_name` out of a legend."""
    shown = name.encode("utf-8", "replace").decode().replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


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


def _values(history: list[Epoch], split: str, score: str) -> list[float] | None:
    """One an epoch, or None where the split is missing or the score is not measured on it."""
    values = [getattr(getattr(epoch, split), score, None) for epoch in history]
    measured = [value for value in values if value is not None]
    return measured if len(measured) == len(values) else None
