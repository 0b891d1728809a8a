"""Draws the scores of a run by epoch, with the baselines (curves.png), and the curves of several runs."""

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

LOSS_LABEL, ACCURACY_LABEL = "cross-entropy (nats per pixel)", "accuracy (fraction of pixels)"


@dataclass(frozen=True)
class Plot:
    """One chart: a field of `Scores` by epoch, with its baseline.

    `label` and `baseline_label` are shown, with `digits` decimals. `more_scores` maps further fields of the
    validation scores, on the same scale, to their names in the legend.
    """

    score: str
    label: str
    baseline_label: str
    digits: int
    more_scores: dict[str, str]


PLOTS = (
    Plot("loss", LOSS_LABEL, "colour frequencies alone", 3, {}),
    Plot(
        "accuracy", ACCURACY_LABEL, "commonest colour", 3,
        {"top3_accuracy": "top 3", "balanced_accuracy": "mean over colours"},
    ),
    Plot("delta_e", "colour difference (CIEDE2000)", "commonest colour", 2, {}),
)  # fmt: skip


def write_curves(path: Path, history: list[Epoch], baselines: Baselines, title: str) -> None:
    """Writes curves.png for the epochs so far, atomically."""
    shown = [plot for plot in PLOTS if getattr(history[-1].selection_scores, plot.score) is not None]
    figure = Figure(figsize=(5 * len(shown), 4.2), dpi=130, facecolor="#fbfaf7", layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(_plain_text(title), fontsize=11, color=TEXT)
    for axis, plot in zip(figure.subplots(1, len(shown)), shown, strict=True):
        _draw(axis, history, plot, getattr(baselines, plot.score))
    with atomic_write(path) as temporary:
        figure.savefig(temporary)


def _draw(axis: Axes, history: list[Epoch], plot: Plot, baseline: float) -> None:
    numbers = [epoch.number for epoch in history]
    if train := _values(history, "train", plot.score):
        axis.plot(numbers, train, color=TRAIN, marker="o", markersize=4, linewidth=1.8, label="train")
    for (score, name), style in zip(plot.more_scores.items(), ("-.", ":"), strict=False):
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
        label=f"{plot.baseline_label}: {baseline:.{plot.digits}f}",
    )
    _style(axis, plot.score, plot.label, numbers[-1])


def write_comparison(path: Path, runs: dict[str, tuple[list[float], list[float]]]) -> None:
    """Writes a picture with the loss and accuracy curves of several runs, atomically.

    Args:
      path: the picture; its suffix chooses the format.
      runs: name of a run to its losses and its accuracies, one of each per epoch.
    """
    figure = Figure(figsize=(10, 4.2 + 0.11 * len(runs)), dpi=130, facecolor="#fbfaf7", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2)
    epochs = max(len(losses) for losses, _ in runs.values())
    labels = {"loss": LOSS_LABEL, "accuracy": ACCURACY_LABEL}
    for curve_index, (axis, (score, label)) in enumerate(zip(axes, labels.items(), strict=True)):
        for run_index, (name, curves) in enumerate(runs.items()):
            curve = curves[curve_index]
            color = colormaps["turbo"](0.08 + 0.84 * run_index / max(1, len(runs) - 1))
            axis.plot(
                range(1, len(curve) + 1), curve, color=color, marker="o", markersize=3, linewidth=1.8,
                label=_plain_text(name),
            )  # fmt: skip
        _style(axis, score, label, epochs)
        axis.get_legend().remove()
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4,
        frameon=False, fontsize=9, labelcolor=TEXT,
    )  # fmt: skip
    with atomic_write(path) as temporary:
        figure.savefig(temporary)


def _plain_text(name: str) -> str:
    """Escapes a name: matplotlib typesets `$` as mathematics and omits `_name` from a legend."""
    text = name.encode("utf-8", "replace").decode().replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def _style(axis: Axes, score: str, label: str, epochs: int) -> None:
    """Sets scales, grid, colours and legend."""
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
    """Returns the score of every epoch; None if the split is missing or the score is not measured on it."""
    values = [getattr(getattr(epoch, split), score, None) for epoch in history]
    measured = [value for value in values if value is not None]
    return measured if len(measured) == len(values) else None
