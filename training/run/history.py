"""What each epoch gave: one row a epoch, in memory and in history.csv."""

from __future__ import annotations

import csv
import dataclasses
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.atomic_files import atomic_write
from training.metrics.scores import Scores


@dataclass(frozen=True)
class Epoch:
    """One epoch: `number` counts from 1, `step` is the number of steps since the start of the run.

    `seconds` of wall-clock for its training alone. `input_wait` is the share of them, 0 to 1, in which the
    loop stood waiting for its next batch: near 0 the input keeps up, far above it the device may idle.
    `val` is None when the dataset has no validation split.
    """

    number: int
    step: int
    seconds: float
    images_per_second: float
    input_wait: float
    learning_rate: float
    train: Scores
    val: Scores | None

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Epoch:
        """The inverse of `dataclasses.asdict`, after a journey through JSON."""
        train, val = (scores and Scores(**scores) for scores in (fields["train"], fields["val"]))
        return cls(**{**fields, "train": train, "val": val})

    @property
    def judged_by(self) -> Scores:
        """The scores that decide which epoch is best: validation's, or else training's."""
        return self.val or self.train

    def row(self) -> dict[str, float | str]:
        """Flat, as it stands in history.csv; what was not measured is empty."""
        flat = {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ("train", "val")
        }
        flat["epoch"] = flat.pop("number")
        for split, scores in (("train", self.train), ("val", self.val)):
            flat |= {f"{split}_{name}": value for name, value in vars(scores).items()} if scores else {}
        return {name: flat.get(name, "") for name in COLUMNS}

    def line(self, planned: int | None = None) -> str:
        """The one line an epoch prints; `planned` is the number of epochs of the run."""
        parts = [
            f"epoch {self.number:3d}" + (f" of {planned}" if planned else ""),
            f"train loss {self.train.loss:.3f}  accuracy {self.train.accuracy:.3f}",
        ]
        if self.val:
            parts.append(
                f"val loss {self.val.loss:.3f}  accuracy {self.val.accuracy:.3f}  ΔE {self.val.delta_e:.2f}"
            )
        parts.append(f"{self.images_per_second:,.0f} images/s  {self.seconds:.0f} s")
        parts.append(f"input wait {self.input_wait:.0%}")
        return "  |  ".join(parts)


COLUMNS = (
    "epoch", "step", "seconds", "images_per_second", "input_wait", "learning_rate",
    "train_loss", "train_accuracy", *(f"val_{score.name}" for score in dataclasses.fields(Scores)),
)  # fmt: skip


def best_of(history: list[Epoch]) -> Epoch | None:
    """The epoch with the lowest validation (or else training) loss; None before the first has ended."""
    return min(history, key=lambda epoch: epoch.judged_by.loss, default=None)


def is_stuck(history: list[Epoch], patience: int | None) -> bool:
    """Whether none of the last `patience` epochs was better than one before them."""
    best = best_of(history)
    return patience is not None and best is not None and history[-1].number - best.number >= patience


def to_csv(history: list[Epoch]) -> str:
    """The whole of history.csv: the heading and a row an epoch."""
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, COLUMNS)
    writer.writeheader()
    writer.writerows(epoch.row() for epoch in history)
    return file.getvalue()


def write_csv(path: Path, history: list[Epoch]) -> None:
    """Writes history.csv whole."""
    with atomic_write(path) as temporary:
        temporary.write_text(to_csv(history), newline="")
