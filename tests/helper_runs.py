"""A short training run, and what two runs must have in common to have ended alike."""

from __future__ import annotations

import csv
from pathlib import Path

import keras
import numpy as np

# Three epochs of six steps: states after steps 4, 6, 6 (scored), 8, 12, 12 (scored), 16, 18, 18 (scored).
SETTINGS = [
    "experiment=smoke", "model.widths=[8,16]", "model.blocks=[0,0]", "trainer.steps_per_epoch=null",
    "trainer.epochs=3", "trainer.checkpoint_steps=4", "trainer.checkpoint_minutes=null",
]  # fmt: skip
TIMINGS = {"seconds", "images_per_second", "input_wait"}


def rows(run_dir: Path) -> list[dict[str, str]]:
    with (run_dir / "history.csv").open(newline="") as file:
        return [{key: row[key] for key in row.keys() - TIMINGS} for row in csv.DictReader(file)]


def assert_same_end(run_dir: Path, expected: Path) -> None:
    assert rows(run_dir) == rows(expected)
    for name in ("last.keras", "best.keras"):
        found, wanted = (
            keras.models.load_model(directory / "checkpoints" / name, compile=False).get_weights()
            for directory in (run_dir, expected)
        )
        assert all(np.array_equal(one, other) for one, other in zip(found, wanted, strict=True))
    assert not list(run_dir.rglob(".writing.*"))


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
