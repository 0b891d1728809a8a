"""Settings of a short training run, and the comparison of two runs."""

from __future__ import annotations

import csv
from pathlib import Path

import keras
import numpy as np

# Three epochs of six steps, with checkpoints after steps 4, 6, 8, 12, 16 and 18. Those at the end of an epoch
# (6, 12, 18) are written again with its validation scores.
SETTINGS = [
    "experiment=smoke", "model.widths=[8,16]", "model.blocks=[0,0]", "trainer.steps_per_epoch=null",
    "trainer.epochs=3", "trainer.checkpoint_steps=4", "trainer.checkpoint_minutes=null",
]  # fmt: skip
TIMINGS = {"seconds", "images_per_second", "input_wait"}


def rows(run_dir: Path) -> list[dict[str, str]]:
    """Returns the rows of history.csv without the columns that depend on the clock."""
    with (run_dir / "history.csv").open(newline="") as file:
        return [{key: row[key] for key in row.keys() - TIMINGS} for row in csv.DictReader(file)]


def assert_same_end(run_dir: Path, expected: Path) -> None:
    """Asserts that two runs have the same history and, bit for bit, the same networks."""
    assert rows(run_dir) == rows(expected)
    for name in ("last.keras", "best.keras"):
        weights, expected_weights = (
            keras.models.load_model(directory / "checkpoints" / name, compile=False).get_weights()
            for directory in (run_dir, expected)
        )
        for weight, expected_weight in zip(weights, expected_weights, strict=True):
            assert np.array_equal(weight, expected_weight)
    assert not list(run_dir.rglob(".writing.*"))


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
