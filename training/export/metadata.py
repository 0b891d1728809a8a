"""export.json: what a program must know to colour drawings with an exported network.

It stands beside the network's files and is read without TensorFlow: this module, like `errors` and the
contract, imports none.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from tfrecords_schema import Palette
from training.errors import UsageError

EXPORT_NAME = "export.json"
FORMAT_VERSION = 1
# Format to file name; what is written when nothing is chosen.
FORMATS = {
    "keras": "model.keras",
    "saved_model": "saved_model",
    "onnx": "model.onnx",
    "litert": "model.tflite",
}
LARGEST = 1 << 13  # px, of sizes and strides: what is larger would take all memory
HINT = "type python -m training.export run=RUN_DIR to make an export"


class ExportMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """An exported network, from "drawing", float32 [B, H, W, C], to "logits", float32 [B, H, W, K].

    `model` is its kind. H and W are padded with empty paper, below and to the right, to multiples of
    `stride`; it was trained at `image_size`. C is 1 (1 on a line, 0 on paper), or with `hints` 5: then also
    red, green and blue from 0 to 1, and 1 where there is a hint. Label i of the K is `palette.colors[i]`.
    `recipe` says how the dataset's drawings were made ({} when the dataset was gone), `files` where each
    format lies, and `scores` are rows as in evaluation.json, the network's and the baselines' (may be none).
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

    def __post_init__(self) -> None:
        if not 1 <= min(self.image_size, self.stride) <= max(self.image_size, self.stride) <= LARGEST:
            raise ValueError(
                f"image_size and stride must be from 1 to {LARGEST}, got {self.image_size} and {self.stride}"
            )
        for name in self.files.values():
            if not re.fullmatch(r"[\w.-]*[\w-]", name):
                raise ValueError(f"files must be names within the directory, got {name!r}")

    @property
    def channels(self) -> int:
        """C, of the input."""
        return 5 if self.hints else 1

    def to_json(self) -> bytes:
        """JSON bytes, the same for the same network."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"

    @classmethod
    def load(cls, directory: str | Path) -> ExportMetadata:
        """Reads `directory`/export.json.

        Raises:
          UsageError: there is none, or it is of another version, or not what an export writes.
        """
        path = Path(directory) / EXPORT_NAME
        if not path.is_file():
            what = f"holds no {EXPORT_NAME}" if path.parent.is_dir() else "there is no such directory"
            raise UsageError(f"{directory}: {what}; {HINT}")
        try:
            data = path.read_bytes()
            # The version is looked at first, since all else may differ with it.
            version = msgspec.json.decode(data, type=dict[str, Any]).get("format_version")
            if version != FORMAT_VERSION:
                raise UsageError(
                    f"{path} is of format version {version}, but this linewash reads {FORMAT_VERSION}: "
                    "export the run again with this version"
                )
            return msgspec.json.decode(data, type=cls)
        # A UnicodeDecodeError is a ValueError; a MsgspecError for wrong JSON is not.
        except (msgspec.MsgspecError, ValueError, OSError, RecursionError) as e:
            raise UsageError(f"{path} is not what python -m training.export writes ({e}); {HINT}") from e

    def file(self, directory: str | Path, format: str) -> Path:
        """Where the network lies in one of `FORMATS`.

        Raises:
          UsageError: it was not exported so, or the file is gone.
        """
        if format not in self.files:
            raise UsageError(
                f"{directory} holds no {format}, only {', '.join(self.files)}: "
                f"export the run again with formats={format}"
            )
        path = Path(directory) / self.files[format]
        if not path.exists():
            raise UsageError(f"{path} is missing: copy it there again, or export the run again")
        return path
