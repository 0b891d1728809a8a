"""The results of each epoch, in memory and in history.csv."""

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
    """The results of one epoch.

    Attributes:
      number: number of the epoch, from 1.
      step: number of steps since the start of the run.
      seconds: wall-clock time of training, without validation.
      images_per_second: speed of training.
      input_wait: fraction of `seconds`, 0 to 1, spent waiting for the next batch. Near 0 the input pipeline
        keeps up; far above, the device is idle for part of the time.
      learning_rate: learning rate of the last step.
      train: scores over the epoch, measured while the weights change.
      val: scores on the validation split; None if the dataset has none.
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
        """Inverts `dataclasses.asdict`, also after a round trip through JSON."""
        train, val = (scores and Scores(**scores) for scores in (fields["train"], fields["val"]))
        return cls(**{**fields, "train": train, "val": val})

    @property
    def selection_scores(self) -> Scores:
        """The scores that choose the best epoch: on the validation split, or else on the training split."""
        return self.val or self.train

    def row(self) -> dict[str, float | str]:
        """Returns the row of history.csv, by column; values that were not measured are empty."""
        flat = {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ("train", "val")
        }
        flat["epoch"] = flat.pop("number")
        for split, scores in (("train", self.train), ("val", self.val)):
            flat |= {f"{split}_{name}": value for name, value in vars(scores).items()} if scores else {}
        return {name: flat.get(name, "") for name in COLUMNS}

    def report(self, num_epochs: int | None = None) -> str:
        """Returns the lines to print after the epoch; `num_epochs` is the planned number of epochs."""
        title = f"epoch {self.number:3d}" + (f" of {num_epochs}" if num_epochs else "")
        lines = [
            f"{title}  train loss {self.train.loss:.3f}  accuracy {self.train.accuracy:.3f}  |  "
            f"{self.images_per_second:,.0f} images/s  {self.seconds:.0f} s  input wait {self.input_wait:.0%}"
        ]
        if self.val:
            lines.append(
                f"{'':{len(title)}}  val   loss {self.val.loss:.3f}  accuracy {self.val.accuracy:.3f}  |  "
                f"ΔE {self.val.delta_e:.2f}"
            )
        return "\n".join(lines)


COLUMNS = (
    "epoch", "step", "seconds", "images_per_second", "input_wait", "learning_rate",
    "train_loss", "train_accuracy", *(f"val_{score.name}" for score in dataclasses.fields(Scores)),
)  # fmt: skip


def best_of(history: list[Epoch]) -> Epoch | None:
    """Returns the epoch with the lowest loss on the selection split; None if no epoch has ended."""
    return min(history, key=lambda epoch: epoch.selection_scores.loss, default=None)


def is_stuck(history: list[Epoch], patience: int | None) -> bool:
    """Returns whether the last `patience` epochs brought no improvement; False if `patience` is None."""
    best = best_of(history)
    return patience is not None and best is not None and history[-1].number - best.number >= patience


def to_csv(history: list[Epoch]) -> str:
    """Returns the content of history.csv: a header and one row per epoch."""
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, COLUMNS)
    writer.writeheader()
    writer.writerows(epoch.row() for epoch in history)
    return file.getvalue()


def write_csv(path: Path, history: list[Epoch]) -> None:
    """Writes history.csv, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(to_csv(history), newline="")
