"""The state of a run in one file: all that its next step depends on, and its history.

The format holds data alone, never code (as a pickle would): the magic line, the header's length (uint64,
little-endian), the header (JSON: progress, history, and each array's name, dtype and shape), the arrays'
bytes one after the other, and the SHA-256 of all that. A file whose digest is wrong is never looked into.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from training.atomic_files import atomic_write
from training.run.history import Epoch

MAGIC = b"linewash state 1\n"
CHUNK = 1 << 20  # bytes read at a time
DIGEST = hashlib.sha256().digest_size


class DamagedCheckpointError(Exception):
    """The file is not, or no longer, what was written."""


@dataclass
class Progress:
    """Where a run stands, weights apart.

    Attributes:
      epoch: the epoch in progress, counted from 1.
      step: steps done since the start of the run.
      in_epoch: of these, the steps done in this epoch. All of them: trained, but not yet scored.
      sums: this epoch's `pixel_sums` so far.
      seconds: wall-clock this epoch has been trained so far, checkpoints apart.
      waited: how many of these `seconds` the loop stood waiting for its next batch.
      trained, compiling: seconds of all processes so far, as `Budget` counts them.
      history: the epochs that have ended.
    """

    epoch: int = 1
    step: int = 0
    in_epoch: int = 0
    sums: Any = 0.0
    seconds: float = 0.0
    waited: float = 0.0
    trained: float = 0.0
    compiling: float = 0.0
    history: list[Epoch] = field(default_factory=list)

    def end_epoch(self, epoch: Epoch) -> None:
        """Takes down an epoch that was scored; the next one begins."""
        self.history.append(epoch)
        self.epoch, self.in_epoch = self.epoch + 1, 0
        self.sums, self.seconds, self.waited = 0.0, 0.0, 0.0


@dataclass(frozen=True)
class Array:
    """A variable's name, for the reader of a header, and its value."""

    name: str
    value: np.ndarray


def write_state(path: Path, progress: Progress, arrays: list[Array]) -> None:
    """Writes one state; what stood at `path` stays until the new file is complete."""
    digest = hashlib.sha256()
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        for chunk in _chunks(progress, arrays):
            digest.update(chunk)
            file.write(chunk)
        file.write(digest.digest())


def read_state(path: Path) -> tuple[Progress, list[Array]]:
    """The inverse of `write_state`, to the bit.

    Raises:
      DamagedStateError: bytes are missing, or are others than those that were written.
    """
    _check_digest(path)
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise DamagedCheckpointError(f"{path} is no state of this version")
        try:
            return _read_content(file, path.stat().st_size - DIGEST)
        # Its digest is right, but anybody can make one: the content may be that of no state at all.
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as e:
            raise DamagedCheckpointError(f"{path} is no state ({type(e).__name__}: {e})") from e


def _read_content(file: BinaryIO, end: int) -> tuple[Progress, list[Array]]:
    header = json.loads(_read_exactly(file, int.from_bytes(file.read(8), "little"), end))
    arrays = []
    for name, dtype_name, shape in header["arrays"]:
        dtype = np.dtype(dtype_name)
        content = _read_exactly(file, math.prod(map(operator.index, shape)) * dtype.itemsize, end)
        arrays.append(Array(name, np.frombuffer(content, dtype).reshape(shape)))
    written = header["progress"]
    written["history"] = [Epoch.from_json(epoch) for epoch in written["history"]]
    return Progress(**{**written, "sums": np.asarray(written["sums"], float)}), arrays


def _read_exactly(file: BinaryIO, size: int, end: int) -> bytes:
    """So many bytes, which must end before `end`: memory is taken for as many as are asked for."""
    if not 0 <= size <= end - file.tell():
        raise ValueError(f"{size:,} bytes are not there")
    return file.read(size)


def _chunks(progress: Progress, arrays: list[Array]) -> Iterator[bytes | memoryview]:
    # JSON keeps every bit of a float: Python writes the shortest decimal that reads back as the same number.
    written = dataclasses.replace(progress, sums=np.asarray(progress.sums).tolist())
    described = [(array.name, array.value.dtype.name, array.value.shape) for array in arrays]
    header = json.dumps({"progress": dataclasses.asdict(written), "arrays": described}).encode()
    yield MAGIC + len(header).to_bytes(8, "little") + header
    for array in arrays:
        yield np.ascontiguousarray(array.value).reshape(-1).view(np.uint8).data


def _check_digest(path: Path) -> None:
    left, digest = path.stat().st_size - DIGEST, hashlib.sha256()
    with path.open("rb") as file:
        while left > 0:
            chunk = file.read(min(CHUNK, left))
            digest.update(chunk)
            left -= len(chunk)
        if file.read() != digest.digest():
            raise DamagedCheckpointError(f"{path} is damaged")
