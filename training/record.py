"""run.json: what this run was, so that its directory explains itself years later."""

from __future__ import annotations

import dataclasses
import json
import platform
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

import tfrecords_schema as schema
from training.config import TrainConfig

RUN_NAME = "run.json"


def write_run(path: Path, config: TrainConfig, manifest: schema.Manifest, net: keras.Model) -> None:
    """Writes the resolved config, the dataset's fingerprint, and what colouring with the network needs.

    `model.stride` and `model.gives_logits` are what `predict` must know about a saved network.
    """
    run: dict[str, Any] = {
        "config": dataclasses.asdict(config),
        "dataset": {
            "root": config.data.root,
            "fingerprint": manifest.dataset_fingerprint,
            "examples": {name: split.examples for name, split in manifest.splits.items()},
        },
        "image_size": manifest.image_size,
        "palette": {"name": manifest.palette.name, "colors": manifest.palette.colors},
        "model": {
            "name": config.model.name,
            "parameters": net.count_params(),
            "stride": config.model.stride,
            "gives_logits": config.model.gives_logits,
        },
        "versions": {
            "linewash": schema.__version__,
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
        },
    }
    path.write_text(json.dumps(run, indent=2) + "\n")
