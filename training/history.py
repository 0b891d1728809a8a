"""What each epoch gave: one row a epoch, in memory and in history.csv."""

from __future__ import annotations

import csv
import dataclasses
from dataclasses import dataclass
from pathlib import Path

from training.metrics import Scores


@dataclass(frozen=True)
class Epoch:
    """One epoch: `number` counts from 1, `step` is the number of steps since the start of the run.

    `seconds` of wall-clock for its training alone; `val` is None when the dataset has no validation split.
    """

    number: int
    step: int
    seconds: float
    images_per_second: float
    learning_rate: float
    train: Scores
    val: Scores | None

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

    def line(self) -> str:
        """The one line an epoch prints."""
        parts = [
            f"epoch {self.number:3d}",
            f"train loss {self.train.loss:.3f}  accuracy {self.train.accuracy:.3f}",
        ]
        if self.val:
            parts.append(
                f"val loss {self.val.loss:.3f}  accuracy {self.val.accuracy:.3f}  ΔE {self.val.delta_e:.2f}"
            )
        parts.append(f"{self.images_per_second:,.0f} images/s  {self.seconds:.0f} s")
        return "  |  ".join(parts)


COLUMNS = (
    "epoch", "step", "seconds", "images_per_second", "learning_rate",
    "train_loss", "train_accuracy", *(f"val_{score.name}" for score in dataclasses.fields(Scores)),
)  # fmt: skip


def append_csv(path: Path, epoch: Epoch) -> None:
    """Adds one row to history.csv, and the heading when the file is new."""
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if is_new:
            writer.writeheader()
        writer.writerow(epoch.row())
