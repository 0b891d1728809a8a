"""Atomic writes: a file or directory is either complete or absent, even after a kill or a power failure."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from training.errors import LinewashError

# The names of temporary files and directories begin with it.
UNFINISHED = ".writing."


@contextmanager
def atomic_write(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Yields a temporary path to write to, and renames it to `path` at the end.

    Until then, and after an error, an existing file at `path` is unchanged and nothing else is left.

    Args:
      path: the file to write. Its directory is made if necessary.
      sync: whether the file is on disk before it is renamed. False is for many small files that can be
        made again, since a sync takes milliseconds.

    Yields:
      A unique path in the same directory, with the same suffix.

    Raises:
      OSError: the file cannot be written; the error names `path` and not the temporary file.
    """
    temporary = path.with_name(f"{UNFINISHED}{secrets.token_hex(4)}{path.suffix}")
    try:
        with _rename_in_errors(temporary, path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            if sync:
                _sync(temporary)
            temporary.replace(path)
            if sync:
                _sync(path.parent)  # makes the new name durable
    finally:
        with suppress(OSError):
            _remove(temporary)


@contextmanager
def atomic_directory(directory: Path) -> Iterator[Path]:
    """Yields a temporary directory to fill, and renames it to `directory` at the end, once it is on disk.

    After an error nothing is left. What a killed process left of an earlier attempt is removed.

    Args:
      directory: the directory to make. It may exist only if it is empty.

    Yields:
      A unique directory beside it.

    Raises:
      OSError: a file cannot be written; the error names a path in `directory` and not in the temporary one.
    """
    directory = directory.resolve()
    temporary = directory.with_name(f"{UNFINISHED}{directory.name}.{secrets.token_hex(4)}")
    with _rename_in_errors(temporary, directory):
        directory.parent.mkdir(parents=True, exist_ok=True)
        for path in directory.parent.glob(f"{UNFINISHED}*"):
            if f"{path.name}.".startswith(f"{UNFINISHED}{directory.name}."):
                _remove_abandoned(path)
        temporary.mkdir()
        lock = os.open(temporary, os.O_RDONLY)
        try:
            with suppress(OSError):  # some file systems have no locks
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield temporary
            for path in [*temporary.rglob("*"), temporary]:
                _sync(path)
            temporary.replace(directory)
        finally:
            os.close(lock)
            with suppress(OSError):
                _remove(temporary)
        _sync(directory.parent)


def remove_unfinished(directory: Path) -> None:
    """Removes the temporary files and directories that a killed process left in `directory` and below."""
    for path in list(directory.rglob(UNFINISHED + "*")):
        _remove_abandoned(path) if path.is_dir() else path.unlink(missing_ok=True)


@contextmanager
def _rename_in_errors(temporary: Path, path: Path) -> Iterator[None]:
    """Makes errors name `path` where they name `temporary`, or no file (as those of a full disk)."""
    try:
        yield
    except OSError as e:
        has_name = isinstance(e.filename, (str, bytes, os.PathLike))
        name = os.fsdecode(e.filename) if has_name else str(temporary)
        if not name.startswith(str(temporary)):
            raise
        name = str(path) + name.removeprefix(str(temporary))
        raise OSError(e.errno, e.strerror or str(e).replace(str(temporary), str(path)), name) from e
    except LinewashError as e:
        e.args = tuple(str(part).replace(str(temporary), str(path)) for part in e.args)
        raise


def _remove_abandoned(directory: Path) -> None:
    """Removes an unfinished directory unless a process still fills it, which then holds its lock."""
    with suppress(OSError):
        lock = os.open(directory, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(directory)
        finally:
            os.close(lock)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
