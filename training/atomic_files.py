"""Files that stand whole or not at all, whatever ends the process or the machine in the middle."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from training.errors import LinewashError

UNFINISHED = ".writing."


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Gives a temporary path to write to, and renames it to `path` once it is safely on disk.

    Until then, and after a failure, whatever stood at `path` stays, and nothing else. The suffix is the same.

    Raises:
      OSError: it cannot be written; the error names `path`, never the temporary file.
    """
    temporary = path.with_name(f"{UNFINISHED}{secrets.token_hex(4)}{path.suffix}")
    try:
        with _named(temporary, path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            _sync(temporary)
            temporary.replace(path)
            # The new name is on disk only when its directory is.
            _sync(path.parent)
    finally:
        with suppress(OSError):
            _remove(temporary)


@contextmanager
def atomic_directory(directory: Path) -> Iterator[Path]:
    """Gives a temporary directory to fill, and renames it to `directory` once all of it is safely on disk.

    `directory` may stand there only if it is empty. After a failure nothing is left.

    Raises:
      OSError: it cannot be written; the error names a path in `directory`, never in the temporary one.
    """
    directory = directory.resolve()
    temporary = directory.with_name(f"{UNFINISHED}{directory.name}.{secrets.token_hex(4)}")
    with _named(temporary, directory):
        directory.parent.mkdir(parents=True, exist_ok=True)
        for path in directory.parent.glob(f"{UNFINISHED}*"):
            if f"{path.name}.".startswith(f"{UNFINISHED}{directory.name}."):
                _remove_abandoned(path)
        temporary.mkdir()
        lock = os.open(temporary, os.O_RDONLY)
        try:
            with suppress(OSError):  # not every file system has locks
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
    """Removes what a killed process left half written in `directory` and below."""
    for path in list(directory.rglob(UNFINISHED + "*")):
        _remove_abandoned(path) if path.is_dir() else path.unlink(missing_ok=True)


@contextmanager
def _named(temporary: Path, path: Path) -> Iterator[None]:
    """Has errors name `path` where they name `temporary`, or no file (as those of a full disk)."""
    try:
        yield
    except OSError as e:
        found = (
            os.fsdecode(e.filename) if isinstance(e.filename, (str, bytes, os.PathLike)) else str(temporary)
        )
        if not found.startswith(str(temporary)):
            raise
        name = str(path) + found.removeprefix(str(temporary))
        raise OSError(e.errno, e.strerror or str(e).replace(str(temporary), str(path)), name) from e
    except LinewashError as e:
        e.args = tuple(str(part).replace(str(temporary), str(path)) for part in e.args)
        raise


def _remove_abandoned(directory: Path) -> None:
    """Removes what a killed process left of an unfinished directory; one that still makes it holds a lock."""
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
