"""Writes TensorBoard event files: settings, scores of each epoch, and the sample grid."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from training.run.history import Epoch


class TensorBoardWriter:
    """Writes one TensorBoard run per split below `directory`, so that their curves share a chart.

    Args:
      directory: directory of the event files; created after the first epoch.
      settings: flat settings, `group.key` to value. The HPARAMS tab compares runs by them.
      selection_split: the split that chooses the best epoch; the settings are attached to its scores.
    """

    def __init__(self, directory: Path, settings: dict[str, Any], selection_split: str) -> None:
        self._directory = directory
        self._settings = settings
        self._selection_split = selection_split

    @cached_property
    def _writers(self) -> dict[str, tf.summary.SummaryWriter]:
        # Created late: a process that writes nothing leaves no empty event file.
        writers = {
            split: tf.summary.create_file_writer(str(self._directory / split)) for split in ("train", "val")
        }
        # TensorBoard accepts numbers, strings in UTF-8 and booleans only.
        values = {
            key: value
            if isinstance(value, bool | int | float)
            else str(value).encode(errors="replace").decode()
            for key, value in self._settings.items()
        }
        with writers[self._selection_split].as_default():
            hparams.hparams(values)
        return writers

    def write(self, epoch: Epoch, sample_grid: np.ndarray) -> None:
        """Adds the scores of an epoch and its sample grid, uint8 [H, W, 3]."""
        for split, scores in (("train", epoch.train), ("val", epoch.val)):
            if scores:
                with self._writers[split].as_default(step=epoch.number):
                    for name, value in vars(scores).items():
                        if value is not None:
                            tf.summary.scalar(name, value)
        with self._writers["train"].as_default(step=epoch.number):
            tf.summary.scalar("learning_rate", epoch.learning_rate)
            tf.summary.scalar("images_per_second", epoch.images_per_second)
        with self._writers["val"].as_default(step=epoch.number):
            tf.summary.image("panel", sample_grid[None])
        for writer in self._writers.values():
            writer.flush()
