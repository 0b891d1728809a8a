"""Which photographs lie in a folder, for the scripts that compare and measure: as preprocess tells them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from preprocess.file_types import HEAD_BYTES, JPEG_MAGIC, Kind, is_hidden, is_image, kind_by_name
from training.errors import UsageError, WorkError


def photographs(folder: Path, jpeg_only: bool = False) -> list[Path]:
    """The JPEGs and PNGs in `folder` and below, sorted; hidden and system files are skipped.

    A usual name is enough, else the first bytes decide; with `jpeg_only` they always do.

    Raises:
      UsageError: it is no folder.
      WorkError: none is in it.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder: give one that holds photographs")
    found = sorted(path for path in _visible_files(folder) if _is_photograph(path, jpeg_only))
    if not found:
        raise WorkError(f"no {'JPEG' if jpeg_only else 'usable photograph'} in {folder}")
    return found


def _visible_files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_hidden(name)]
        yield from (Path(place, name) for name in names if not is_hidden(name))


def _is_photograph(path: Path, jpeg_only: bool) -> bool:
    kind = kind_by_name(path.name)
    if not path.is_file() or kind in (Kind.TAR, Kind.OTHER):
        return False
    if kind is Kind.IMAGE and not jpeg_only:
        return True
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    return head.startswith(JPEG_MAGIC) if jpeg_only else is_image(head)
