"""The format of a checkpoint: an .npz file with all that the next training step depends on.

`numpy.load(path, allow_pickle=False)` opens it. It is an uncompressed zip archive of

* progress.json, the fields of `Progress`,
* variables/00000/NAME.npy and so on, one array for each variable of `CompiledModel.variables`, in order.

The archive's comment is the SHA-256 of all bytes before it, in hexadecimal: the CRCs of a zip archive do not
cover its headers. A file is parsed only if its digest is right. It holds data and never code, as a pickle
would.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import struct
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from training.atomic_files import atomic_write
from training.run.history import Epoch

PROGRESS = "progress.json"
DIGEST_SIZE = 64  # hexadecimal digits of a SHA-256
CHUNK_BYTES = 1 << 20  # read at a time
MAX_NPY_HEADER_BYTES = 1_000  # NumPy writes about 120


class DamagedCheckpointError(Exception):
    """The file is not a checkpoint, or its content has changed since it was written."""


@dataclass
class Progress:
    """How far a run is; its weights are stored beside it.

    Attributes:
      epoch: the current epoch, counted from 1.
      step: steps done since the start of the run.
      steps_in_epoch: steps done in the current epoch. After its last step the epoch still has to be scored.
      pixel_sums: the sum of `pixel_sums` over the steps of this epoch.
      seconds: wall-clock time spent training in this epoch, without the writing of checkpoints.
      input_wait_seconds: the part of `seconds` in which the loop waited for its next batch.
      training_seconds, compile_seconds: times of all processes so far, as `Budget` counts them.
      history: the epochs that have ended.
    """

    epoch: int = 1
    step: int = 0
    steps_in_epoch: int = 0
    pixel_sums: Any = 0.0
    seconds: float = 0.0
    input_wait_seconds: float = 0.0
    training_seconds: float = 0.0
    compile_seconds: float = 0.0
    history: list[Epoch] = field(default_factory=list)

    def end_epoch(self, epoch: Epoch) -> None:
        """Appends the scored epoch to the history and begins the next one."""
        self.history.append(epoch)
        self.epoch, self.steps_in_epoch = self.epoch + 1, 0
        self.pixel_sums, self.seconds, self.input_wait_seconds = 0.0, 0.0, 0.0


@dataclass(frozen=True)
class SavedVariable:
    """The name and the value of a variable. The name is for people who look into the file."""

    name: str
    value: np.ndarray


def write_checkpoint(path: Path, progress: Progress, variables: list[SavedVariable]) -> None:
    """Writes a checkpoint. A file at `path` is replaced once the new one is complete.

    The same progress and variables give the same bytes. NumPy's format has no bfloat16: such a variable is
    written as float32, which holds each of its values exactly.
    """
    with atomic_write(path) as temporary:
        with zipfile.ZipFile(temporary, "w") as archive:
            _write_members(archive, progress, variables)
            archive.comment = bytes(DIGEST_SIZE)
        with temporary.open("r+b") as file:
            digest = _digest(file)
            file.seek(-DIGEST_SIZE, os.SEEK_END)
            file.write(digest)


def read_checkpoint(path: Path) -> tuple[Progress, list[SavedVariable]]:
    """Reads a checkpoint. All values equal the written ones to the bit.

    Memory use is limited by the size of the file, whatever its headers claim.

    Raises:
      DamagedCheckpointError: the file is no checkpoint, or bytes of it are missing or have changed.
    """
    with path.open("rb") as file:
        if _digest(file) != file.read():
            raise DamagedCheckpointError(f"{path} is damaged: its SHA-256 is wrong")
    try:
        with zipfile.ZipFile(path) as archive:
            return _read_members(archive, path.stat().st_size)
    # The digest is right, but anybody can compute one: the content may be anything.
    except (
        zipfile.BadZipFile, struct.error, EOFError, ValueError, TypeError, LookupError, AttributeError,
        ArithmeticError, RuntimeError,
    ) as e:  # fmt: skip
        raise DamagedCheckpointError(f"{path} is not a checkpoint ({type(e).__name__}: {e})") from e


def _write_members(archive: zipfile.ZipFile, progress: Progress, variables: list[SavedVariable]) -> None:
    archive.writestr(zipfile.ZipInfo(PROGRESS), _progress_to_json(progress))
    for index, variable in enumerate(variables):
        value = np.asarray(variable.value, order="C")
        # A ZipInfo without a time, so that the bytes do not depend on the clock.
        member = zipfile.ZipInfo(f"{_folder(index)}{variable.name}.npy")
        with archive.open(member, "w", force_zip64=True) as file:
            np.lib.format.write_array(
                file, value if value.dtype.kind in "biuf" else value.astype(np.float32), allow_pickle=False
            )


def _read_members(archive: zipfile.ZipFile, file_size: int) -> tuple[Progress, list[SavedVariable]]:
    members = archive.infolist()
    # A hostile archive has members that expand, overlap, or lie outside the file.
    if any((m.compress_type, m.compress_size) != (zipfile.ZIP_STORED, m.file_size) for m in members):
        raise ValueError("it is compressed")
    if sum(m.file_size for m in members) > file_size or any(m.header_offset < 0 for m in members):
        raise ValueError("its members do not fit into the file")
    progress, *variables = members
    if progress.filename != PROGRESS:
        raise ValueError(f"its first member is not {PROGRESS}")
    return _progress_from_json(archive.read(progress)), [
        _read_variable(archive, member, index) for index, member in enumerate(variables)
    ]


def _read_variable(archive: zipfile.ZipFile, member: zipfile.ZipInfo, index: int) -> SavedVariable:
    folder, name = _folder(index), member.filename
    if not (name.startswith(folder) and name.endswith(".npy")):
        raise ValueError(f"{name} is not {folder}NAME.npy")
    with archive.open(member) as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError(f"{name} is not an .npy file of version 1.0")
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file, MAX_NPY_HEADER_BYTES)
        if is_fortran or dtype.kind not in "biuf":
            raise ValueError(f"{name} is not an array of numbers in C order")
        content = file.read()
    if len(content) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{name} has {len(content):,} bytes for the shape {shape}")
    return SavedVariable(name[len(folder) : -len(".npy")], np.frombuffer(content, dtype).reshape(shape))


def _folder(index: int) -> str:
    return f"variables/{index:05d}/"


def _progress_to_json(progress: Progress) -> bytes:
    # JSON keeps every bit of a float: Python writes the shortest decimal that reads back as the same number.
    plain = dataclasses.replace(progress, pixel_sums=np.asarray(progress.pixel_sums).tolist())
    return json.dumps(dataclasses.asdict(plain)).encode()


def _progress_from_json(content: bytes) -> Progress:
    fields = json.loads(content)
    fields["pixel_sums"] = np.asarray(fields["pixel_sums"], float)
    fields["history"] = [Epoch.from_json(epoch) for epoch in fields["history"]]
    return Progress(**fields)


def _digest(file: BinaryIO) -> bytes:
    """Returns the SHA-256 of all but the last `DIGEST_SIZE` bytes, at which the file is then positioned."""
    remaining, digest = os.fstat(file.fileno()).st_size - DIGEST_SIZE, hashlib.sha256()
    while remaining > 0:
        chunk = file.read(min(CHUNK_BYTES, remaining))
        if not chunk:
            break
        digest.update(chunk)
        remaining -= len(chunk)
    return digest.hexdigest().encode()
