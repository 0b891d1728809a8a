"""TensorBoard: the settings, each epoch's scores, training and validation in one chart, and the panel."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from training.run.history import Epoch


class TensorBoardWriter:
    """Writes below `directory`, one run of TensorBoard's for each split: their curves then share a chart.

    `settings` (group.key to value) make runs comparable by them, in the tab HPARAMS; they go to the run
    whose scores decide, that of `judged`.
    """

    def __init__(self, directory: Path, settings: dict[str, Any], judged: str) -> None:
        self._directory = directory
        self._settings = settings
        self._judged = judged

    @cached_property
    def _writers(self) -> dict[str, tf.summary.SummaryWriter]:
        # Only now: where nothing is written, no empty file is left.
        writers = {
            split: tf.summary.create_file_writer(str(self._directory / split)) for split in ("train", "val")
        }
        # TensorBoard knows numbers, words and truth values.
        known = {
            key: value
            if isinstance(value, bool | int | float)
            else str(value).encode(errors="replace").decode()
            for key, value in self._settings.items()
        }
        with writers[self._judged].as_default():
            hparams.hparams(known)
        return writers

    def write(self, epoch: Epoch, panel: np.ndarray | None) -> None:
        """Adds one epoch; `panel` is uint8 [H, W, 3]."""
        for split, scores in (("train", epoch.train), ("val", epoch.val)):
            if scores:
                with self._writers[split].as_default(step=epoch.number):
                    for name, value in vars(scores).items():
                        if value is not None:
                            tf.summary.scalar(name, value)
        with self._writers["train"].as_default(step=epoch.number):
            tf.summary.scalar("learning_rate", epoch.learning_rate)
            tf.summary.scalar("images_per_second", epoch.images_per_second)
        if panel is not None:
            with self._writers["val"].as_default(step=epoch.number):
                tf.summary.image("panel", panel[None])
        for writer in self._writers.values():
            writer.flush()
