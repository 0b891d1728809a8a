"""run.json: what this run was, so that its directory explains itself years later and can be resumed."""

from __future__ import annotations

import dataclasses
import json
import platform
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

import tfrecords_schema as schema
from training.atomic_files import atomic_write
from training.config import TrainConfig
from training.errors import UsageError

if TYPE_CHECKING:
    import keras

    from training.data.dataset import ShardedDataset

RUN_NAME = "run.json"
LARGEST = 1 << 20  # of a stride, a batch or the like: what is larger would take all memory
# How long a run continues, on what, and where its dataset stands may change; with anything else it would be
# another run. That the dataset is the same is checked by its content.
MAY_CHANGE = ("data.root", "trainer.epochs", "trainer.max_minutes", "trainer.patience", "trainer.strategy")

# Settings that runs begun by older versions do not have, or have as null: they may go on without them.
ADDED = ("data.shuffle_megabytes",)


@dataclass(frozen=True)
class RunInfo:
    """What run.json says of a run that must be known to judge its network.

    `root` is where its dataset was then.
    """

    directory: Path
    root: str
    fingerprint: str
    palette: schema.Palette
    image_size: int
    stride: int
    gives_logits: bool
    batch_size: int
    panel_images: int

    @classmethod
    def read(cls, directory: Path) -> RunInfo:
        """Reads `directory`/run.json.

        Raises:
          UsageError: there is no run, or its run.json is not one of ours.
        """
        path = directory / RUN_NAME
        hint = "type run=RUN_DIR, a directory made by python -m training"
        if not path.is_file():
            what = f"holds no {RUN_NAME}" if directory.is_dir() else "there is no such directory"
            raise UsageError(f"run={directory}: {what}; {hint}")
        try:
            run = json.loads(path.read_text())
            read = cls(
                directory,
                str(run["dataset"]["root"]),
                str(run["dataset"]["fingerprint"]),
                msgspec.convert(run["palette"], schema.Palette),
                int(run["image_size"]),
                int(run["model"]["stride"]),
                bool(run["model"]["gives_logits"]),
                int(run["config"]["trainer"]["batch_size"]),
                int(run["config"]["trainer"]["panel_images"]),
            )
            numbers = (read.image_size, read.stride, read.batch_size, read.panel_images)
            if not 1 <= min(numbers) <= max(numbers) <= LARGEST:
                raise ValueError(f"sizes must be from 1 to {LARGEST}, got {', '.join(map(str, numbers))}")
            return read
        # An OverflowError is that of 1e999, a RecursionError that of lists a thousand deep.
        except (
            ValueError, LookupError, TypeError, OverflowError, RecursionError, msgspec.MsgspecError,
        ) as e:  # fmt: skip
            raise UsageError(
                f"{path} is not what python -m training writes ({type(e).__name__}: {e}): give another run"
            ) from e

    def network(self, checkpoint: str) -> Path:
        """The path of its network, `checkpoint` being best or last.

        Raises:
          UsageError: it is not there.
        """
        path = self.directory / "checkpoints" / f"{checkpoint}.keras"
        if not path.is_file():
            raise UsageError(f"{path} is missing: the run has saved no network; train it for an epoch")
        return path

    def in_batches(self, typed: str | None) -> RunInfo:
        """The same run, judged so many images at a time as were `typed`; as in training if None were."""
        return dataclasses.replace(self, batch_size=min(int(typed), LARGEST)) if typed else self

    def find_root(self, typed: str | None) -> str:
        """Where its dataset is: at `typed`, or else where it was.

        Raises:
          UsageError: it is not there any more.
        """
        return typed or still_there(self.root)

    def differences(self, dataset: ShardedDataset) -> list[str]:
        """Sentences on how `dataset` differs from the one that the run was trained on.

        Raises:
          UsageError: it has other colours, or a size that the network cannot take.
        """
        root, manifest = dataset.root, dataset.manifest
        here, there = manifest.palette, self.palette
        if here.colors != there.colors:
            raise UsageError(
                f"data.root={root}: its palette is {here.name} of {len(here)} colours, but the network "
                f"knows {there.name} of {len(there)}: give a dataset of the same palette as {self.root}"
            )
        if manifest.image_size % self.stride:
            raise UsageError(
                f"data.root={root}: the network takes multiples of {self.stride} px, but these images "
                f"are {manifest.image_size} px: preprocess with --image_size {self.image_size}"
            )
        found = []
        if manifest.image_size != self.image_size:
            found.append(f"images of {manifest.image_size} px; the network was trained on {self.image_size}")
        if manifest.dataset_fingerprint != self.fingerprint:
            found.append(
                f"another dataset ({manifest.dataset_fingerprint}) than it was trained on "
                f"({self.fingerprint}): what is judged here may be what it learnt from"
            )
        return found


def write_run(path: Path, config: TrainConfig, dataset: ShardedDataset, net: keras.Model) -> None:
    """Writes the resolved config, the dataset's fingerprint, and what colouring with the network needs.

    `model.stride` and `model.gives_logits` are what `predict` must know about a saved network.
    """
    import keras
    import tensorflow as tf

    manifest = dataset.manifest
    run: dict[str, Any] = {
        "config": dataclasses.asdict(config),
        "dataset": {
            # The run may be continued, or judged, from another working directory.
            "root": _absolute(dataset.root),
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
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(run, indent=2) + "\n")


class _Dataset(msgspec.Struct):
    fingerprint: str
    examples: dict[str, int] = {}


class _Model(msgspec.Struct):
    name: str


class _Record(msgspec.Struct):
    """What of run.json its readers rely on."""

    config: dict[str, dict[str, Any]]
    dataset: _Dataset
    model: _Model
    versions: dict[str, Any] = {}


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
        msgspec.convert(run, _Record)
    except (ValueError, RecursionError, msgspec.MsgspecError) as e:
        raise UsageError(f"{path} is not what python -m training wrote: it cannot be read") from e
    return run


def dataset_root(run: dict[str, Any]) -> str:
    """Where the dataset of a run stands, by what `read_run` gave; as it was typed if that still leads there.

    Raises:
      UsageError: it is not there any more.
    """
    typed = str(run["config"].get("data", {}).get("root", ""))
    root = str(run["dataset"].get("root", typed))
    still_there(root)
    return typed if _absolute(typed) == root else root


def _absolute(root: str) -> str:
    return root if "://" in root else str(Path(root).absolute())


def still_there(root: str) -> str:
    """`root`, the directory of a run's dataset.

    Raises:
      UsageError: no dataset is there any more.
    """
    if "://" not in root and not (Path(root) / schema.MANIFEST_NAME).is_file():
        raise UsageError(f"the dataset is no longer at {root}: type data.root=WHERE")
    return root


def continuing(run_dir: Path) -> str:
    """The command that continues a run."""
    return f"python -m training {shlex.quote(f'run={run_dir}')}"


def settings(config: dict[str, Any]) -> dict[str, Any]:
    """A config as run.json holds it, flat: group.key to value."""
    return {f"{group}.{key}": value for group, values in config.items() for key, value in values.items()}


def differences(one: dict[str, Any], other: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The flat settings in which two runs differ, with both values; None where one has no such setting."""
    keys = dict.fromkeys([*one, *other])
    return {key: (one.get(key), other.get(key)) for key in keys if one.get(key) != other.get(key)}


def check_same_run(run_dir: Path, config: TrainConfig, dataset: ShardedDataset) -> None:
    """Refuses to go on in a directory with another config or dataset; one without a run is free.

    Raises:
      UsageError: the directory holds another run.
    """
    if not (run_dir / RUN_NAME).exists():
        return
    run = read_run(run_dir)
    saved, typed = settings(run["config"]), settings(json.loads(json.dumps(dataclasses.asdict(config))))
    differing = {
        key: values
        for key, values in differences(saved, typed).items()
        if key not in MAY_CHANGE and (key not in ADDED or saved.get(key) is not None)
    }
    if differing:
        listed = ", ".join(f"{key}={then} (now {now})" for key, (then, now) in differing.items())
        raise UsageError(
            f"{run_dir} holds a run with {listed}: type hydra.run.dir=ANOTHER, "
            f"or run={run_dir} to go on with it"
        )
    fingerprint = dataset.manifest.dataset_fingerprint
    if run["dataset"]["fingerprint"] != fingerprint:
        raise UsageError(
            f"data.root={dataset.root} has the fingerprint {fingerprint}, but the run "
            f"in {run_dir} began with {run['dataset']['fingerprint']}: type data.root=WHERE that dataset is, "
            "or hydra.run.dir=ANOTHER"
        )
