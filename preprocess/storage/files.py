"""Bytes in and out of the dataset directory and the sources, on local disk or in a remote store."""

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
from preprocess.storage.registry import CONNECTIONS, StorageError, Stored, explain_errors, set_options

__all__ = ["StorageError", "set_options"]  # so that others need to know this module only

WORK_DIR = ".work"  # inside the dataset: plans and unfinished files; gone when the job is done
INDEX_DIR = ".index"  # inside the dataset: where the images lie in their tars; kept

READ_BYTES = 16 << 20  # asked for at a time of a remote file that is read from end to end
UPLOAD_BYTES = 32 << 20  # of a file to be uploaded: kept in memory, and beyond that on disk


def is_remote(path: str) -> bool:
    """True for gs://…, s3://… and their like."""
    return "://" in path


def join(root: str, name: str) -> str:
    """`root`/`name`, for local and remote roots."""
    return f"{root.rstrip('/')}/{name}"


@contextlib.contextmanager
def open_binary(path: str) -> Iterator[BinaryIO]:
    """Opens a file for reading and seeking, mostly from its beginning to its end.

    Raises:
      OSError: it cannot be opened.
    """
    if is_remote(path):
        with io.BufferedReader(_RemoteFile(path), READ_BYTES) as remote:
            yield remote
    else:
        with _open_local(path) as local:
            yield local


def _open_local(path: str) -> BinaryIO:
    """Opens a file, and nothing else: for a named pipe one would wait for ever, and a device has no end."""
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", path)
    return file


class _RemoteFile(io.RawIOBase):
    """A remote file, each read of which is one request."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._size = size(path)
        self._at = 0
        if self._size < 0:
            raise FileNotFoundError(f"{path} is not there")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        wanted = max(0, min(len(buffer), self._size - self._at))
        data = read(self._path, self._at, wanted)
        buffer[:wanted] = data
        self._at += wanted
        return wanted


def read(path: str, offset: int = 0, size: int = -1) -> bytes:
    """A whole file, or `size` bytes of it from `offset` on, and no more than these.

    Raises:
      OSError: it cannot be read, or is shorter than that.
    """
    if is_remote(path):
        with explain_errors("read", path):
            data = registry.store(path).read(path, offset, size)
    else:
        with _open_local(path) as file:
            end = file.seek(0, io.SEEK_END)
            file.seek(offset)
            # Memory is taken for as much as is asked for, there or not.
            data = file.read(min(size, max(0, end - offset)))
    if 0 <= size != len(data):
        raise OSError(f"{path} ends before byte {offset + size:,}")
    return data


def read_each(paths: Iterable[str]) -> Iterator[bytes]:
    """Yields the contents of small files, in order. Up to `CONNECTIONS` of them are read ahead, no more.

    Raises:
      OSError: one of them cannot be read.
    """
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        under_way: deque[Future[bytes]] = deque()
        for path in paths:
            under_way.append(pool.submit(read, path))
            if len(under_way) > CONNECTIONS:
                yield under_way.popleft().result()
        yield from (future.result() for future in under_way)


def listing(pattern: str) -> Iterator[Stored]:
    """Yields the remote files that match a glob.

    Raises:
      StorageError: they cannot be listed.
    """
    with explain_errors("list", pattern):
        yield from registry.store(pattern).list(pattern)


def sizes(root: str, pattern: str) -> dict[str, int]:
    """Name, relative to `root`, and size of each file that matches a glob below it, in the order of names."""
    if is_remote(root):
        found = {stored.path: stored.size for stored in listing(join(root, pattern))}
    else:
        found = {path.as_posix(): path.stat().st_size for path in Path(root).glob(pattern)}
    return {path.removeprefix(join(root, "")): found[path] for path in sorted(found)}


def names(root: str, pattern: str) -> list[str]:
    """The names, relative to `root`, that match a glob `pattern` below it; [] where there is nothing."""
    return list(sizes(root, pattern))


def size(path: str) -> int:
    """A file's size in bytes; -1 where there is none."""
    if is_remote(path):
        found = _find(path)
        return found.size if found else -1
    try:
        return Path(path).stat().st_size
    except FileNotFoundError:
        return -1


def modified(path: str) -> float:
    """When a file was last changed, in seconds; 0 where a remote store does not say.

    Raises:
      OSError: there is no such file.
    """
    if not is_remote(path):
        return Path(path).stat().st_mtime
    if found := _find(path):
        return found.modified
    raise FileNotFoundError(f"{path} is not there")


def _find(path: str) -> Stored | None:
    with explain_errors("look for", path):
        return registry.store(path).find(path)


@contextlib.contextmanager
def atomic_write(root: str, name: str) -> Iterator[BinaryIO]:
    """Opens `root`/`name` for writing; it appears, whole, only when the block ends without an error.

    When the block has ended, a local file survives a power cut: the file and its folder are synchronised with
    the disk before anything that refers to it is written. Files in `WORK_DIR` are not, as each run of the
    command writes them anew.

    Raises:
      OSError: the file cannot be written; what stood there before stays, and no temporary file is left.
    """
    target = join(root, name)
    temporary = join(root, f"{WORK_DIR}/{uuid.uuid4().hex}.tmp")
    if is_remote(root):
        # Uploaded only when it is whole: a store shows an upload that was merely closed, cut short or not.
        with tempfile.SpooledTemporaryFile(UPLOAD_BYTES) as spooled:
            yield cast(BinaryIO, spooled)
            _upload(spooled, target, temporary)
        return
    lasting = not name.startswith(f"{WORK_DIR}/")
    if lasting:
        make_folder(Path(target).parent)
    for path in (target, temporary):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    try:
        with Path(temporary).open("wb") as file:
            yield file
            if lasting:
                file.flush()
                os.fsync(file.fileno())
        Path(temporary).replace(target)
        if lasting:
            _sync_folder(Path(target).parent)
    except BaseException as e:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(e, OSError) and e.errno and not e.filename:
            e.filename = target  # a full disk does not say which
        raise


def _upload(file: IO[bytes], target: str, temporary: str) -> None:
    file.seek(0)
    with explain_errors("write", target):
        registry.store(target).write(target, cast(BinaryIO, file), temporary)


def write(root: str, name: str, data: bytes) -> None:
    """Writes a whole file, atomically."""
    with atomic_write(root, name) as file:
        file.write(data)


def make_folder(folder: Path) -> None:
    """Makes a local folder and those around it, unless they are there. The new ones survive a power cut.

    Raises:
      OSError: one of them cannot be made.
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in missing:
        _sync_folder(each.parent)


def _sync_folder(folder: Path) -> None:
    """Writes the names in a folder to the disk: a renamed file is safe only then."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as e:
        if e.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot do it
            raise
    finally:
        os.close(descriptor)


def remove(root: str, name: str) -> None:
    """Removes a file below `root`, if it is there. It does not come back after a power cut."""
    path = join(root, name)
    if is_remote(root):
        with explain_errors("remove", path):
            registry.store(path).delete(path)
        return
    with contextlib.suppress(FileNotFoundError):
        Path(path).unlink()
        _sync_folder(Path(path).parent)


def remove_folder(root: str, name: str) -> None:
    """Removes a folder below `root` and all that is in it, if it is there."""
    if is_remote(root):
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            list(pool.map(lambda inside: remove(root, inside), names(root, f"{name}/**")))
    else:
        shutil.rmtree(join(root, name), ignore_errors=True)
