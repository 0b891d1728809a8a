"""export.json: what a program must know to colour drawings with an exported network.

The file lies beside those of the network. This module does not import TensorFlow, so that colouring starts
fast and runs where TensorFlow is not installed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from tfrecords_schema import Palette
from training.errors import UsageError

EXPORT_NAME = "export.json"
# Version 2 added references. An export without one is of version 1 still, because programs that know only
# version 1 can use it; they would fail on a network with a second input, so its version tells them.
FORMAT_VERSIONS = (1, 2)
# File name of each format, in the order in which they are written.
FORMATS = {
    "keras": "model.keras",
    "saved_model": "saved_model",
    "onnx": "model.onnx",
    "litert": "model.tflite",
}
# The inputs of an exported network, in the order of the Keras network; not each has the second.
INPUTS = ("drawing", "reference")
MAX_SIDE = 1 << 13  # px, of images and strides; larger values would exhaust the memory
HINT = "make an export with python -m training.export run=RUN_DIR"


def format_version(reference: bool) -> int:
    """Returns the version of an export with or without a reference."""
    return FORMAT_VERSIONS[reference]


class ExportMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """The content of export.json, for a network from "drawing", and perhaps "reference", to "logits".

    The drawing is float32 [B, H, W, C]: 1 on lines and 0 on paper; with hints, four more channels hold red,
    green and blue from 0 to 1, and 1 where there is a hint. H and W must be multiples of `stride`: drawings
    are padded with paper below and to the right. The reference is float32 [B, K]: how much of each colour is
    wanted, as fractions that add up to 1, or zeros for no reference. The logits are float32 [B, H, W, K].
    The files know the inputs by these names; their order may differ.

    Attributes:
      format_version: version of this file's format.
      model: name of the network's config, such as unet.
      image_size: side of the training images in pixels.
      stride: the sides of a drawing must be multiples of it; in pixels.
      hints: whether the network takes hints.
      reference: whether the network takes a reference.
      prior: fraction of the training pixels that each colour has, [K]; None if the dataset was not there.
      palette: label i of the K is `palette.colors[i]`.
      recipe: how the drawings of the dataset were made; empty if the dataset was not there.
      dataset_fingerprint: dataset fingerprint of the training dataset.
      files: file name of each format, within the directory.
      scores: scores of the network and the baselines, by name, as in evaluation.json; may be empty.
      linewash_version: version that made the export.
      settings: the settings of the network, as config.model in run.json; empty in old exports.
    """

    format_version: int
    model: str
    image_size: int
    stride: int
    hints: bool
    palette: Palette
    recipe: dict[str, Any]
    dataset_fingerprint: str
    files: dict[str, str]
    scores: dict[str, dict[str, float | None]]
    linewash_version: str
    # Not in the oldest exports.
    reference: bool = False
    prior: list[float] | None = None
    settings: dict[str, Any] = {}

    def __post_init__(self) -> None:
        if not 1 <= min(self.image_size, self.stride) <= max(self.image_size, self.stride) <= MAX_SIDE:
            raise ValueError(
                f"image_size and stride must be from 1 to {MAX_SIDE}, got {self.image_size} and {self.stride}"
            )
        if self.reference and self.format_version < format_version(True):
            raise ValueError(
                f"a network with a reference has format_version {format_version(True)}, got "
                f"{self.format_version}"
            )
        if self.prior is not None and (
            len(self.prior) != len(self.palette) or min(self.prior) < 0 or abs(sum(self.prior) - 1) > 1e-3
        ):
            raise ValueError(f"prior must have a fraction for each of the {len(self.palette)} colours")
        for name in self.files.values():
            if not re.fullmatch(r"[\w.-]*[\w-]", name):
                raise ValueError(f"files must be file names without directories, got {name!r}")

    @property
    def channels(self) -> int:
        """The number of channels of the drawing."""
        return 5 if self.hints else 1

    def to_json(self) -> bytes:
        """Encodes the content; equal content gives equal bytes."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"

    @classmethod
    def load(cls, directory: str | Path) -> ExportMetadata:
        """Reads the export.json of a directory.

        Raises:
          UsageError: the file is missing, has another version, or is not one that an export writes.
        """
        path = Path(directory) / EXPORT_NAME
        if not path.is_file():
            problem = f"holds no {EXPORT_NAME}" if path.parent.is_dir() else "there is no such directory"
            raise UsageError(f"{directory}: {problem}; {HINT}")
        try:
            data = path.read_bytes()
            # The version comes first, since all other fields depend on it.
            version = msgspec.json.decode(data, type=dict[str, Any]).get("format_version")
            if version not in FORMAT_VERSIONS:
                known = " and ".join(map(str, FORMAT_VERSIONS))
                raise UsageError(
                    f"{path} has format version {version}, but this linewash reads versions {known}: "
                    "export the run again with this version"
                )
            return msgspec.json.decode(data, type=cls)
        # MsgspecError is a ValueError for wrong values, but not for wrong JSON.
        except (msgspec.MsgspecError, ValueError, OSError, RecursionError) as e:
            raise UsageError(f"{path} is not what python -m training.export writes ({e}); {HINT}") from e

    def file(self, directory: str | Path, format: str) -> Path:
        """Returns the path of the network in one of `FORMATS`.

        Raises:
          UsageError: the export does not have this format, or the file is missing.
        """
        if format not in self.files:
            raise UsageError(
                f"{directory} holds no {format}, only {', '.join(self.files)}: "
                f"export the run again with formats={format}"
            )
        path = Path(directory) / self.files[format]
        if not path.exists():
            raise UsageError(f"{path} is missing: copy it there, or export the run again")
        return path
