"""Reads, lists and writes files by path, on local disk or in a remote store.

Local files are written durably: a file that a receipt or manifest refers to survives a power cut.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import stat
import tempfile
import uuid
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, BinaryIO, cast

from preprocess.storage import registry
from preprocess.storage.base import CONNECTIONS, Stored, explain_errors

WORK_DIR = ".work"  # inside the dataset: shard lists and unfinished files; removed at the end of the job
INDEX_DIR = ".index"  # inside the dataset: indexes of tars and learnt palettes; kept

_BUFFER_BYTES = 16 << 20  # size of a request when a remote file is read sequentially
_UPLOAD_MEMORY_BYTES = 32 << 20  # a file to be uploaded is kept in memory up to this size, else on disk


def is_remote(path: str) -> bool:
    """Returns True for gs://..., s3://... and other paths with a scheme."""
    return "://" in path


def join(root: str, name: str) -> str:
    """Returns `root`/`name`, for local and remote roots."""
    return f"{root.rstrip('/')}/{name}"


# -------------------------------------------------------------------------------------------------- read


@contextlib.contextmanager
def open_binary(path: str) -> Iterator[BinaryIO]:
    """Opens a file for reading and seeking. Buffers are sized for sequential reads.

    Raises:
      OSError: the file cannot be opened.
    """
    if is_remote(path):
        with io.BufferedReader(_RemoteFile(path), _BUFFER_BYTES) as remote:
            yield remote
    else:
        with _open_local(path) as local:
            yield local


def _open_local(path: str) -> BinaryIO:
    """Opens a regular file only: a named pipe could block for ever, and a device has no end."""
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", path)
    return file


class _RemoteFile(io.RawIOBase):
    """A remote file that sends one request for each read."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._size = size(path)
        self._offset = 0
        if self._size < 0:
            raise FileNotFoundError(f"{path} does not exist")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._offset = offset + (0, self._offset, self._size)[whence]
        return self._offset

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        num_bytes = max(0, min(len(buffer), self._size - self._offset))
        buffer[:num_bytes] = read(self._path, self._offset, num_bytes)
        self._offset += num_bytes
        return num_bytes


def read(path: str, offset: int = 0, size: int = -1) -> bytes:
    """Returns exactly `size` bytes from `offset` on, or all bytes to the end of the file if size is -1.

    Raises:
      OSError: the file cannot be read or is too short.
    """
    if is_remote(path):
        with explain_errors("read", path):
            data = registry.store(path).read(path, offset, size)
    else:
        with _open_local(path) as file:
            end = file.seek(0, io.SEEK_END)
            file.seek(offset)
            # Python allocates the requested size, so the request must not exceed the file.
            data = file.read(min(size, max(0, end - offset)))
    if 0 <= size != len(data):
        raise OSError(f"{path} ends before byte {offset + size:,}")
    return data


def read_each(paths: Iterable[str]) -> Iterator[bytes]:
    """Yields the contents of small files in the order of `paths`, reading up to `CONNECTIONS` files ahead.

    Raises:
      OSError: a file cannot be read.
    """
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        futures: deque[Future[bytes]] = deque()
        for path in paths:
            futures.append(pool.submit(read, path))
            if len(futures) > CONNECTIONS:
                yield futures.popleft().result()
        yield from (future.result() for future in futures)


# -------------------------------------------------------------------------------------------------- list


def list_remote(pattern: str) -> Iterator[Stored]:
    """Yields the remote files that match a glob.

    Raises:
      StorageError: the store cannot be listed.
    """
    with explain_errors("list", pattern):
        yield from registry.store(pattern).list(pattern)


def sizes(root: str, pattern: str) -> dict[str, int]:
    """Returns the name, relative to `root`, and size of each file below it that matches a glob, by name."""
    if is_remote(root):
        by_path = {stored.path: stored.size for stored in list_remote(join(root, pattern))}
    else:
        by_path = {path.as_posix(): path.stat().st_size for path in Path(root).glob(pattern)}
    return {path.removeprefix(join(root, "")): by_path[path] for path in sorted(by_path)}


def names(root: str, pattern: str) -> list[str]:
    """Returns the sorted names, relative to `root`, of the files below it that match a glob."""
    return list(sizes(root, pattern))


def size(path: str) -> int:
    """Returns the size of a file in bytes; -1 if there is none."""
    if is_remote(path):
        stored = _find(path)
        return stored.size if stored else -1
    try:
        return Path(path).stat().st_size
    except FileNotFoundError:
        return -1


def modified(path: str) -> float:
    """Returns the modification time of a file in seconds; 0 if a remote store does not report it.

    Raises:
      OSError: there is no such file.
    """
    if not is_remote(path):
        return Path(path).stat().st_mtime
    if stored := _find(path):
        return stored.modified
    raise FileNotFoundError(f"{path} does not exist")


def _find(path: str) -> Stored | None:
    with explain_errors("look for", path):
        return registry.store(path).find(path)


# ------------------------------------------------------------------------------------------------- write


@contextlib.contextmanager
def atomic_write(root: str, name: str) -> Iterator[BinaryIO]:
    """Opens `root`/`name` for writing. The file appears, complete, when the block ends without an error.

    A local file then survives a power cut: the file and its folder are synchronized with the disk before
    anything that refers to it can be written. Files in `WORK_DIR` are not synchronized, as each run writes
    them anew. After kill -9, at most a temporary file in `WORK_DIR` remains, which the next run removes.

    Raises:
      OSError: the file cannot be written. An existing file is unchanged, and no temporary file remains.
    """
    target = join(root, name)
    temporary = join(root, f"{WORK_DIR}/{uuid.uuid4().hex}.tmp")
    if is_remote(root):
        # Spooled first: a store would show an upload that is closed early as if it were complete.
        with tempfile.SpooledTemporaryFile(_UPLOAD_MEMORY_BYTES) as spooled:
            yield cast(BinaryIO, spooled)
            _upload(spooled, target, temporary)
        return
    is_durable = not name.startswith(f"{WORK_DIR}/")
    if is_durable:
        make_folder(Path(target).parent)
    for path in (target, temporary):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    try:
        with Path(temporary).open("wb") as file:
            yield file
            if is_durable:
                file.flush()
                os.fsync(file.fileno())
        Path(temporary).replace(target)
        if is_durable:
            _sync_folder(Path(target).parent)
    except BaseException as e:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(e, OSError) and e.errno and not e.filename:
            e.filename = target  # the error of a full disk does not contain a path
        raise


def _upload(file: IO[bytes], target: str, temporary: str) -> None:
    file.seek(0)
    with explain_errors("write", target):
        registry.store(target).write(target, cast(BinaryIO, file), temporary)


def write(root: str, name: str, data: bytes) -> None:
    """Writes the file `root`/`name`; see `atomic_write`."""
    with atomic_write(root, name) as file:
        file.write(data)


def make_folder(folder: Path) -> None:
    """Creates a local folder and its parents where they are missing. The new folders survive a power cut.

    Raises:
      OSError: a folder cannot be created.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Synchronizes the entries of a folder with the disk. Without this, a rename may be lost."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as e:
        if e.errno not in (errno.EINVAL, errno.ENOTSUP):  # not supported by some network file systems
            raise
    finally:
        os.close(descriptor)


# ------------------------------------------------------------------------------------------------ remove


def remove(root: str, name: str) -> None:
    """Removes the file `root`/`name` if it exists. The removal survives a power cut."""
    path = join(root, name)
    if is_remote(root):
        with explain_errors("remove", path):
            registry.store(path).delete(path)
        return
    with contextlib.suppress(FileNotFoundError):
        Path(path).unlink()
        _sync_folder(Path(path).parent)


def remove_folder(root: str, name: str) -> None:
    """Removes the folder `root`/`name` and its contents if it exists."""
    if is_remote(root):
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            list(pool.map(lambda inside: remove(root, inside), names(root, f"{name}/**")))
    else:
        shutil.rmtree(join(root, name), ignore_errors=True)
