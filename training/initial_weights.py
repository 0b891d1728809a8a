"""Finds the network that a new run starts from: `python -m training init=...`."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfrecords_schema import Palette
from training.cli import parse_path
from training.errors import UsageError, WorkError
from training.export.metadata import EXPORT_NAME, ExportMetadata
from training.run.run_info import RUN_NAME, RunInfo, RunStart, find_network

if TYPE_CHECKING:
    import keras

STARTER = "starter"  # the network that is part of linewash
EXPECTED = "type init=RUN_DIR, init=FILE.keras or init=starter"


@dataclass(frozen=True)
class InitialWeights:
    """A trained network from which a run starts.

    Attributes:
      text: as it was typed.
      path: the .keras file.
      palette: the colours of the network; None if no run.json or export.json tells them.
      model: settings of the network that are known, by name.
    """

    text: str
    path: Path
    palette: Palette | None
    model: dict[str, Any]

    @classmethod
    def find(cls, text: str) -> InitialWeights:
        """Finds the network that `init=TEXT` names.

        Raises:
          UsageError: there is none.
        """
        path = _starter() if text == STARTER else Path(parse_path(text))
        if path.is_dir() and (path / RUN_NAME).is_file():
            return cls._of_run(text, path, find_network(path, "best"))
        if path.is_dir() and (path / EXPORT_NAME).is_file():
            metadata = ExportMetadata.load(path)
            return cls._of_export(text, path / metadata.files.get("keras", "model.keras"), metadata)
        if path.is_dir():
            raise UsageError(f"init={text}: {path} holds neither {RUN_NAME} nor {EXPORT_NAME}; {EXPECTED}")
        if not path.is_file():
            raise UsageError(f"init={text}: there is no such file or directory; {EXPECTED}")
        if (path.parent.parent / RUN_NAME).is_file() and path.parent.name == "checkpoints":
            return cls._of_run(text, path.parent.parent, path)
        if (path.parent / EXPORT_NAME).is_file():
            return cls._of_export(text, path, ExportMetadata.load(path.parent))
        return cls(text, path, None, {})

    @classmethod
    def _of_run(cls, text: str, run_dir: Path, path: Path) -> InitialWeights:
        run = RunInfo.read(run_dir)
        return cls(text, path, run.palette, dict(run.config.get("model", {})))

    @classmethod
    def _of_export(cls, text: str, path: Path, metadata: ExportMetadata) -> InitialWeights:
        if not path.is_file():
            raise UsageError(f"init={text}: {path} is missing; export the run again with formats=keras")
        model = {"name": metadata.model, "hints": metadata.hints, "reference": metadata.reference}
        return cls(text, path, metadata.palette, metadata.settings | model)

    def overrides(self, typed: list[str]) -> list[str]:
        """Returns the settings of the network, as Hydra's overrides to put before those that were typed.

        They are those of the trained network, and are left out if the option of the group is typed. Hints and
        a reference are only ever switched on, so that a preset may add them.
        """
        if not self.model or any(text.startswith("model=") for text in typed):
            return []
        texts = [f"model={self.model['name']}"]
        for key, value in self.model.items():
            if key != "name" and (key not in ("hints", "reference") or value):
                texts.append(f"model.{key}={json.dumps(value, separators=(',', ':'))}")
        names = {text.partition("=")[0] for text in typed}
        return [text for text in texts if text.partition("=")[0] not in names]

    def load_into(self, net: keras.Model, palette: Palette) -> RunStart:
        """Sets the weights of a new network, whose colours are `palette`; says what was done.

        Raises:
          UsageError: the networks differ in more than colours and inputs.
          WorkError: the file is damaged.
        """
        from training.evaluate.evaluation import load_network
        from training.metrics.color_spaces import nearest_colors
        from training.models.transfer import TransferError, transfer_weights

        source = load_network(self.path, self.palette)
        colors = source.output_shape[-1]
        if self.palette is None and colors != len(palette):
            raise UsageError(
                f"init={self.text}: the network has {colors} colours, the dataset has {len(palette)}, and no "
                f"{RUN_NAME} or {EXPORT_NAME} beside the file says which they are"
            )
        try:
            transfer = transfer_weights(source, net, nearest_colors(self.palette or palette, palette))
        except TransferError as e:
            raise UsageError(
                f"init={self.text}: {e}: give the settings of the model that the network was trained with"
            ) from e
        return RunStart(
            init=self.text,
            file=str(self.path.absolute()),
            sha256=hashlib.sha256(self.path.read_bytes()).hexdigest(),
            note=str(transfer),
        )


def _starter() -> Path:
    """Returns the directory of the packaged network. It belongs to the scripts, which are not imported."""
    spec = importlib.util.find_spec("linewash")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(folder) / "coloring" / STARTER).is_dir():
            return path
    raise WorkError("init=starter: the starter is not installed; install linewash anew, or " + EXPECTED)
