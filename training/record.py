"""run.json: what this run was, so that its directory explains itself years later and can be resumed."""

from __future__ import annotations

import dataclasses
import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tfrecords_schema as schema
from training.atomic import replacing
from training.config import TrainConfig
from training.errors import UsageError

if TYPE_CHECKING:
    import keras

RUN_NAME = "run.json"
# How long and on what a run goes on may change while it goes on; anything else would make it another run.
MAY_CHANGE = ("trainer.epochs", "trainer.max_minutes", "trainer.strategy")


def write_run(path: Path, config: TrainConfig, manifest: schema.Manifest, net: keras.Model) -> None:
    """Writes the resolved config, the dataset's fingerprint, and what colouring with the network needs.

    `model.stride` and `model.gives_logits` are what `predict` must know about a saved network.
    """
    import keras
    import tensorflow as tf

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
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(run, indent=2) + "\n")


def read_run(run_dir: Path) -> dict[str, Any]:
    """The run.json of a run's directory.

    Raises:
      UsageError: there is none that can be read.
    """
    path = run_dir / RUN_NAME
    if not path.is_file():
        raise UsageError(f"{run_dir} is not the directory of a run: it holds no {RUN_NAME}")
    try:
        run = json.loads(path.read_text())
        settings(run["config"])
        run["dataset"]["fingerprint"]
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise UsageError(f"{path} is not what python -m training wrote: it cannot be read") from e
    return run


def settings(config: dict[str, Any]) -> dict[str, Any]:
    """A config as run.json holds it, flat: group.key to value."""
    return {f"{group}.{key}": value for group, values in config.items() for key, value in values.items()}


def differences(one: dict[str, Any], other: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The flat settings in which two runs differ, with both values; None where one has no such setting."""
    keys = dict.fromkeys([*one, *other])
    return {key: (one.get(key), other.get(key)) for key in keys if one.get(key) != other.get(key)}


def check_same_run(run_dir: Path, config: TrainConfig, manifest: schema.Manifest) -> None:
    """Refuses to go on in a directory with another config or dataset; one without a run is free.

    Raises:
      UsageError: the directory holds another run.
    """
    if not (run_dir / RUN_NAME).exists():
        return
    run = read_run(run_dir)
    typed = json.loads(json.dumps(dataclasses.asdict(config)))
    differing = {
        key: values
        for key, values in differences(settings(run["config"]), settings(typed)).items()
        if key not in MAY_CHANGE
    }
    if differing:
        listed = ", ".join(f"{key}={then} (now {now})" for key, (then, now) in differing.items())
        raise UsageError(
            f"{run_dir} holds a run with {listed}: type hydra.run.dir=ANOTHER, "
            f"or run={run_dir} to go on with it"
        )
    if run["dataset"]["fingerprint"] != manifest.dataset_fingerprint:
        raise UsageError(
            f"data.root={config.data.root} has the fingerprint {manifest.dataset_fingerprint}, but the run "
            f"in {run_dir} began with {run['dataset']['fingerprint']}: type hydra.run.dir=ANOTHER"
        )
