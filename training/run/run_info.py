"""run.json: the settings, the dataset, the network and the versions of a run.

It explains a run directory years later, and is all that resuming, evaluating and exporting the run need.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

import tfrecords_schema as schema
from training.atomic_files import atomic_write
from training.config import TrainConfig
from training.errors import UsageError
from training.metrics.logit_adjustment import color_frequencies

if TYPE_CHECKING:
    import keras

    from training.data.dataset import ShardedDataset

RUN_NAME = "run.json"
MAX_SIZE = 1 << 20  # of an image, a stride or a batch; larger values would exhaust the memory
# Settings that may differ when a run is resumed; any other change would make it a different run. The dataset
# may have moved: the dataset fingerprint is compared instead.
MAY_CHANGE = ("data.root", "trainer.epochs", "trainer.max_minutes", "trainer.patience", "trainer.strategy")
# Settings that the run.json of older versions lacks or holds as null. Such runs can be resumed without them.
ADDED_SETTINGS = (
    "data.shuffle_megabytes",
    "reference.without", "reference.thinned", "reference.blurred", "reference.mixed",
)  # fmt: skip

Versions = dict[str, str]


class RunDataset(msgspec.Struct, frozen=True, kw_only=True):
    """The dataset of a run: its absolute path or URL, dataset fingerprint, and examples by split."""

    root: str | None = None
    fingerprint: str
    examples: dict[str, int] = {}


class RunModel(msgspec.Struct, frozen=True, kw_only=True):
    """The network of a run: the name of its config, its number of parameters, and how to call it.

    The sides of an input must be multiples of `stride`. The outputs are logits if `gives_logits`, else the
    article's scores (see `losses.to_logits`).
    """

    name: str
    parameters: int = 0
    stride: int
    gives_logits: bool


class RunStart(msgspec.Struct, frozen=True, kw_only=True):
    """What a run began from: as typed after init=, the file and its SHA-256, and what was taken from it."""

    init: str
    file: str
    sha256: str
    note: str


class RunInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The content of run.json.

    `config` holds the resolved settings by group. `versions` are those of the packages that began the run;
    `resumed_versions` are the other ones that have resumed it since. `start` is None for a run that began
    from random weights.
    """

    config: dict[str, dict[str, Any]]
    dataset: RunDataset
    image_size: int
    palette: schema.Palette
    model: RunModel
    versions: Versions = {}
    resumed_versions: list[Versions] = []
    start: RunStart | None = None

    def __post_init__(self) -> None:
        trainer = self.config.get("trainer", {})
        for name, size in {
            "image_size": self.image_size,
            "model.stride": self.model.stride,
            "trainer.batch_size": trainer.get("batch_size"),
            "trainer.panel_images": trainer.get("panel_images"),
        }.items():
            if not (isinstance(size, int) and 1 <= size <= MAX_SIZE):
                raise ValueError(f"{name} must be a whole number from 1 to {MAX_SIZE}, got {size}")

    @property
    def batch_size(self) -> int:
        """The number of images per batch in training."""
        return self.config["trainer"]["batch_size"]

    @property
    def panel_images(self) -> int:
        """The number of examples in the sample grid."""
        return self.config["trainer"]["panel_images"]

    @property
    def root(self) -> str:
        """The absolute path or URL that the dataset had when the run last started."""
        return self.dataset.root or self._configured_root

    @property
    def _configured_root(self) -> str:
        return str(self.config.get("data", {}).get("root", ""))

    @classmethod
    def read(cls, run_dir: Path) -> RunInfo:
        """Reads the run.json of a run directory.

        Raises:
          UsageError: the file is missing, or not one that training writes.
        """
        path = run_dir / RUN_NAME
        if not path.is_file():
            problem = f"holds no {RUN_NAME}" if run_dir.is_dir() else "there is no such directory"
            raise UsageError(
                f"run={run_dir}: {problem}; type run=RUN_DIR, a directory made by python -m training"
            )
        try:
            # Not msgspec's own JSON parser, which refuses paths that are not UTF-8.
            return msgspec.convert(json.loads(path.read_text()), cls)
        # RecursionError: deeply nested lists.
        except (ValueError, RecursionError, msgspec.MsgspecError) as e:
            raise UsageError(f"{path} is not what python -m training writes ({e}): name another run") from e

    def write(self, run_dir: Path) -> None:
        """Writes run.json into `run_dir`, atomically."""
        with atomic_write(run_dir / RUN_NAME) as temporary:
            temporary.write_text(json.dumps(msgspec.to_builtins(self), indent=2) + "\n")

    def choose_batch_size(self, argument: str | None) -> int:
        """Returns the batch size in `argument`, a string of digits, or else that of training."""
        return min(int(argument[:9]), MAX_SIZE) if argument else self.batch_size

    def find_dataset(self, root: str | None = None) -> str:
        """Returns `root` if it is given, else the dataset's directory as recorded.

        Raises:
          UsageError: the recorded directory holds no dataset any more.
        """
        if root:
            return root
        if "://" not in self.root and not (Path(self.root) / schema.MANIFEST_NAME).is_file():
            raise UsageError(f"the dataset is no longer at {self.root}: type data.root=WHERE")
        return self.root

    def find_configured_dataset(self) -> str:
        """Returns `find_dataset()`, in the form in which it was typed if that form still leads there.

        Raises:
          UsageError: the recorded directory holds no dataset any more.
        """
        root = self.find_dataset()
        return self._configured_root if _absolute(self._configured_root) == root else root

    def find_color_frequencies(self) -> list[float] | None:
        """Returns the fraction of the training pixels that each colour has, or None if they are not known.

        They are read from the manifest of the dataset if it is still where it was, on this machine.
        """
        if "://" in self.root:
            return None
        try:
            manifest = schema.Manifest.load(self.root)
        except (schema.SchemaError, OSError):
            return None
        if manifest.dataset_fingerprint != self.dataset.fingerprint or "train" not in manifest.splits:
            return None
        return color_frequencies(manifest.splits["train"].label_histogram)

    def compare_dataset(self, dataset: ShardedDataset) -> list[str]:
        """Returns a sentence for each difference between a dataset and the one that the run was trained on.

        Raises:
          UsageError: the dataset has another palette, or an image size that the network cannot take.
        """
        manifest, palette, stride = dataset.manifest, dataset.manifest.palette, self.model.stride
        if palette.colors != self.palette.colors:
            raise UsageError(
                f"data.root={dataset.root}: its palette is {palette.name} with {len(palette)} colours, but "
                f"the network was trained on {self.palette.name} with {len(self.palette)}: "
                f"give a dataset with the palette of {self.root}"
            )
        if manifest.image_size % stride:
            raise UsageError(
                f"data.root={dataset.root}: the network takes multiples of {stride} px, but these images "
                f"are {manifest.image_size} px: preprocess with --image_size {self.image_size}"
            )
        differences = []
        if manifest.image_size != self.image_size:
            differences.append(
                f"images of {manifest.image_size} px; the network was trained on {self.image_size} px"
            )
        if manifest.dataset_fingerprint != self.dataset.fingerprint:
            differences.append(
                f"another dataset (dataset fingerprint {manifest.dataset_fingerprint}) than in training "
                f"({self.dataset.fingerprint}): it may contain training examples"
            )
        return differences


def network_path(run_dir: Path, checkpoint: str) -> Path:
    """Returns the path of a run's saved network; `checkpoint` is best or last."""
    return run_dir / "checkpoints" / f"{checkpoint}.keras"


def find_network(run_dir: Path, checkpoint: str) -> Path:
    """Returns `network_path`, of a file that exists.

    Raises:
      UsageError: the run has saved no such network yet.
    """
    path = network_path(run_dir, checkpoint)
    if not path.is_file():
        raise UsageError(f"{path} is missing: the run has saved no network; train it for at least one epoch")
    return path


def write_run(
    run_dir: Path,
    config: TrainConfig,
    dataset: ShardedDataset,
    net: keras.Model,
    start: RunStart | None = None,
) -> None:
    """Writes run.json for a run that starts or is resumed in `run_dir`.

    A resumed run keeps the versions that began it, because its weights and its scores depend on them.
    Versions that differ are added to `resumed_versions`. What it began from is kept too, instead of `start`.
    """
    manifest, versions, resumed_versions = dataset.manifest, _installed_versions(), []
    if (run_dir / RUN_NAME).is_file():
        before = RunInfo.read(run_dir)
        resumed_versions, start = before.resumed_versions, before.start or start
        if versions not in [before.versions, *resumed_versions]:
            resumed_versions = [*resumed_versions, versions]
        versions = before.versions
    RunInfo(
        config=dataclasses.asdict(config),
        dataset=RunDataset(
            # Absolute, because the run may be resumed or evaluated from another working directory.
            root=_absolute(dataset.root),
            fingerprint=manifest.dataset_fingerprint,
            examples={name: split.examples for name, split in manifest.splits.items()},
        ),
        image_size=manifest.image_size,
        palette=manifest.palette,
        model=RunModel(
            name=config.model.name,
            parameters=net.count_params(),
            stride=config.model.stride,
            gives_logits=config.model.gives_logits,
        ),
        versions=versions,
        resumed_versions=resumed_versions,
        start=start,
    ).write(run_dir)


def check_same_run(
    run_dir: Path, config: TrainConfig, dataset: ShardedDataset, init: str | None = None
) -> None:
    """Checks that `run_dir` holds no run, or one with this config and this dataset.

    Args:
      run_dir: the directory of the run.
      config: the settings.
      dataset: the training dataset.
      init: what the run is to begin from, as typed. None fits any run, which need not be given it again.

    Raises:
      UsageError: the directory holds another run.
    """
    if not (run_dir / RUN_NAME).exists():
        return
    run = RunInfo.read(run_dir)
    saved = {"model.reference": False} | flat_settings(run.config)
    current = flat_settings(json.loads(json.dumps(dataclasses.asdict(config))))
    differing = {
        key: values
        for key, values in differing_settings(saved, current).items()
        if key not in MAY_CHANGE and (key not in ADDED_SETTINGS or saved.get(key) is not None)
    }
    if differing:
        listed = ", ".join(f"{key}={then} (now {now})" for key, (then, now) in differing.items())
        raise UsageError(
            f"{run_dir} holds a run with {listed}: type hydra.run.dir=ANOTHER, "
            f"or run={run_dir} to continue that run"
        )
    if init is not None and (run.start is None or run.start.init != init):
        began = f"init={run.start.init}" if run.start else "random weights"
        raise UsageError(
            f"{run_dir} holds a run that began from {began}, not init={init}: type hydra.run.dir=ANOTHER"
        )
    fingerprint = dataset.manifest.dataset_fingerprint
    if run.dataset.fingerprint != fingerprint:
        raise UsageError(
            f"data.root={dataset.root} has the dataset fingerprint {fingerprint}, but the run "
            f"in {run_dir} began with {run.dataset.fingerprint}: type data.root=WHERE that dataset is, "
            "or hydra.run.dir=ANOTHER"
        )


def resume_command(run_dir: Path) -> str:
    """Returns the shell command that resumes a run."""
    return f"python -m training {shlex.quote(f'run={run_dir}')}"


def flat_settings(config: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Flattens a config as run.json holds it: maps `group.key` to the value."""
    return {f"{group}.{key}": value for group, values in config.items() for key, value in values.items()}


def differing_settings(first: dict[str, Any], second: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Returns the flat settings that differ, each with both values; None stands for a missing setting."""
    keys = dict.fromkeys([*first, *second])
    return {key: (first.get(key), second.get(key)) for key in keys if first.get(key) != second.get(key)}


def _absolute(root: str) -> str:
    return root if "://" in root else str(Path(root).absolute())


def _installed_versions() -> Versions:
    import keras
    import tensorflow as tf

    return {
        "linewash": schema.__version__,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }
