"""Bytes in and out of the dataset directory and the sources, on local disk or anything Beam can open."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

WORK_DIR = ".work"  # inside the dataset: plans and unfinished files; gone when the job is done
INDEX_DIR = ".index"  # inside the dataset: where the images lie in their tars; kept


class StorageError(OSError):
    """A place that cannot be listed, read or written; the message names it and says why."""


def is_remote(path: str) -> bool:
    """True for gs://…, s3://… and their like."""
    return "://" in path


def join(root: str, name: str) -> str:
    """`root`/`name`, for local and remote roots."""
    return f"{root.rstrip('/')}/{name}"


def filesystems():  # type: ignore[no-untyped-def]
    """Beam's FileSystems, imported on first use: it takes most of a second."""
    from apache_beam.io.filesystems import FileSystems

    return FileSystems


@contextlib.contextmanager
def open_binary(path: str) -> Iterator[BinaryIO]:
    """Opens a file for reading and seeking.

    Raises:
      OSError: it cannot be opened.
    """
    if is_remote(path):
        with filesystems().open(path, compression_type="uncompressed") as remote:
            yield remote
    else:
        with Path(path).open("rb") as local:
            yield local


def read(path: str, offset: int = 0, size: int = -1) -> bytes:
    """A whole file, or `size` bytes of it from `offset` on.

    Raises:
      OSError: it cannot be read, or is shorter than that.
    """
    with open_binary(path) as file:
        if offset:
            file.seek(offset)
        data = file.read(size) if size >= 0 else file.read()
    if 0 <= size != len(data):
        raise OSError(f"{path} ends before byte {offset + size:,}")
    return data


def names(root: str, pattern: str) -> list[str]:
    """The names, relative to `root`, that match a glob `pattern` below it; [] where there is nothing."""
    if not is_remote(root):
        return sorted(p.relative_to(root).as_posix() for p in Path(root).glob(pattern))
    (found,) = filesystems().match([join(root, pattern)])
    return sorted(m.path.removeprefix(join(root, "")) for m in found.metadata_list)


def size(path: str) -> int:
    """A file's size in bytes; -1 where there is none."""
    if not is_remote(path):
        try:
            return Path(path).stat().st_size
        except FileNotFoundError:
            return -1
    (found,) = filesystems().match([path])
    return found.metadata_list[0].size_in_bytes if found.metadata_list else -1


def modified(path: str) -> float:
    """When a file was last changed, in seconds; 0 where a remote store does not say.

    Raises:
      OSError: there is no such file.
    """
    if not is_remote(path):
        return Path(path).stat().st_mtime
    (found,) = filesystems().match([path])
    return found.metadata_list[0].last_updated_in_seconds or 0.0


@contextlib.contextmanager
def write_atomically(root: str, name: str) -> Iterator[BinaryIO]:
    """Opens `root`/`name` for writing; it appears, whole, only when the block ends without an error."""
    target = join(root, name)
    temporary = join(root, f"{WORK_DIR}/{uuid.uuid4().hex}.tmp")
    if is_remote(root):
        # An object appears when its upload is closed; one upload and one rename, as on a disk.
        with filesystems().create(temporary, compression_type="uncompressed") as file:
            yield file
        filesystems().rename([temporary], [target])
        return
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    Path(temporary).parent.mkdir(parents=True, exist_ok=True)
    try:
        with Path(temporary).open("wb") as file:
            yield file
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write(root: str, name: str, data: bytes) -> None:
    """Writes a whole file, atomically."""
    with write_atomically(root, name) as file:
        file.write(data)


def remove(root: str, name: str) -> None:
    """Removes a file or folder below `root`, if it is there."""
    fs = filesystems()
    with contextlib.suppress(Exception):  # Beam raises its own BeamIOError for what is already gone
        fs.delete([join(root, name)])
