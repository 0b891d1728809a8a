"""Takes the files of an exported network to the workers, which may be other machines."""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from pathlib import Path

from linewash.coloring.model_loader import STARTER, Network, load
from preprocess.storage import files
from training.errors import UsageError
from training.export.metadata import EXPORT_NAME, ExportMetadata

FOLDER = f"{files.WORK_DIR}/network"
EXPORT_ADVICE = "type --run EXPORT, a directory made by python -m training.export run=RUN_DIR formats=onnx"


@dataclasses.dataclass(frozen=True)
class NetworkFiles:
    """The files of an export with ONNX: their contents by name, relative to the export."""

    contents: dict[str, bytes]

    @property
    def sha256(self) -> str:
        """The digest of all files."""
        digest = hashlib.sha256()
        for name, data in sorted(self.contents.items()):
            digest.update(f"{name} {len(data)}\n".encode() + data)
        return digest.hexdigest()

    def check(self) -> Network:
        """Loads the network.

        Raises:
          UsageError, WorkError: it is damaged, or a package that it needs is missing.
        """
        with tempfile.TemporaryDirectory(prefix="linewash-") as folder:
            return _load(self.contents, folder)

    def write(self, output: str) -> None:
        """Writes the files below `output`/`FOLDER`, from where workers load them."""
        for name, data in self.contents.items():
            files.write(output, f"{FOLDER}/{name}", data)


def read_network(run: str) -> NetworkFiles:
    """Reads an export from a local or remote directory, from `export` below it, or the starter model.

    Raises:
      UsageError: there is no export with ONNX.
    """
    directories = [run, files.join(run, "export")] if run else [str(STARTER)]
    for directory in directories:
        if files.size(files.join(directory, EXPORT_NAME)) >= 0:
            return _read(directory)
    raise UsageError(f"--run {run} holds no {EXPORT_NAME}: {EXPORT_ADVICE}")


def load_network(output: str) -> Network:
    """Loads the network that `NetworkFiles.write` wrote, for one core.

    Raises:
      OSError, UsageError, WorkError: it cannot be read.
    """
    folder = files.join(output, FOLDER)
    with tempfile.TemporaryDirectory(prefix="linewash-") as temporary:
        return _load(_read(folder).contents, temporary)


def _read(directory: str) -> NetworkFiles:
    metadata = files.read(files.join(directory, EXPORT_NAME))
    with tempfile.TemporaryDirectory(prefix="linewash-") as folder:
        Path(folder, EXPORT_NAME).write_bytes(metadata)
        network = ExportMetadata.load(folder).files.get("onnx", "")
    path = files.join(directory, network)
    if not network or files.size(path) < 0:
        raise UsageError(f"--run {directory} holds no ONNX: {EXPORT_ADVICE}")
    return NetworkFiles({EXPORT_NAME: metadata, network: files.read(path)})


def _load(contents: dict[str, bytes], folder: str) -> Network:
    for name, data in contents.items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return load(folder, num_threads=1)
