"""Files that stand whole or not at all, whatever ends the process or the machine in the middle."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNFINISHED = ".writing."


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary path to write to, and renames it to `path` once it is safely on disk.

    Until then, and after a failure, whatever stood at `path` stays. The suffix is the same.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(UNFINISHED + path.name)
    yield temporary
    _sync(temporary)
    temporary.replace(path)
    # The new name is on disk only when its directory is.
    _sync(path.parent)


@contextmanager
def making(directory: Path) -> Iterator[Path]:
    """Gives a temporary directory to fill, and renames it to `directory` once all of it is safely on disk.

    `directory` may stand there only if it is empty. After a failure nothing is left.
    """
    directory = directory.resolve()
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = directory.with_name(UNFINISHED + directory.name)
    _remove(temporary)  # what a killed process left
    temporary.mkdir()
    try:
        yield temporary
        for path in [*temporary.rglob("*"), temporary]:
            _sync(path)
        temporary.replace(directory)
    finally:
        _remove(temporary)
    _sync(directory.parent)


def remove_unfinished(directory: Path) -> None:
    """Removes what a killed process left half written in `directory` and below."""
    for path in list(directory.rglob(UNFINISHED + "*")):
        _remove(path)


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
