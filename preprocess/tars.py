"""A tar archive in, the place of each image in it out; nothing is extracted, and no archive is loaded whole.

Class tars (`n01440764.tar`) and ImageNet's tar of class tars are read the same way: a member that is itself a
tar is looked into where it lies.
"""

from __future__ import annotations

import dataclasses
import io
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

TAR_SUFFIX = ".tar"
DEEPEST = 8  # tars within tars; ImageNet's has class tars, and nothing in these


class TarError(ValueError):
    """An archive that cannot be used; the message names it and says why."""


@dataclasses.dataclass(frozen=True)
class Member:
    """One file in an archive: `name`, with at least one folder, and its place in the outermost file."""

    name: str
    offset: int
    size: int


def members(file: BinaryIO, path: str, suffixes: tuple[str, ...]) -> Iterator[Member]:
    """Yields the members whose names end with one of `suffixes`, in the order of the archive.

    A member without a folder takes the archive's own name for one: `n01440764.tar` holds `n01440764/…`.

    Raises:
      TarError: not an uncompressed tar, cut short, a member that cannot be where it is said to be, or a name
        that points out of the archive.
    """
    yield from _members(_Window(file, 0, file.seek(0, io.SEEK_END)), path, suffixes, DEEPEST)


def _members(file: _Window, path: str, suffixes: tuple[str, ...], deeper: int) -> Iterator[Member]:
    if not deeper:
        raise TarError(f"{path} lies in {DEEPEST} tars, one in the other: not an archive to trust")
    folder = path.rpartition("/")[2].removesuffix(TAR_SUFFIX)
    try:
        # "r:" is without compression: offsets into a compressed archive would mean nothing.
        with tarfile.open(fileobj=file, mode="r:") as archive:
            while (info := archive.next()) is not None:
                # tarfile keeps all that it has seen, and that can be a million.
                archive.members = []  # type: ignore[attr-defined]
                _check_place(info, archive, file.length, path)
                # Folders; links, which may point anywhere; and files with holes, which are not as they lie.
                if not info.isreg() or info.issparse():
                    continue
                name = _clean(info.name, path)
                if name.lower().endswith(TAR_SUFFIX):
                    inner = _Window(file.file, file.start + info.offset_data, info.size)
                    yield from _members(inner, name, suffixes, deeper - 1)
                elif name.lower().endswith(suffixes):
                    kept = name if "/" in name else f"{folder}/{name}"
                    yield Member(kept, file.start + info.offset_data, info.size)
    except (TarError, OSError):
        raise
    except Exception as e:  # tarfile raises whatever it meets in a damaged header
        raise TarError(f"{path} cannot be read as an uncompressed tar: {e}") from None


def _check_place(info: tarfile.TarInfo, archive: tarfile.TarFile, length: int, path: str) -> None:
    """A member lies within its archive, and the next one after it: else reading might never end."""
    following = archive.offset  # where the next header is
    inside = not info.isreg() or info.issparse() or 0 <= info.size <= length - info.offset_data
    if not inside or following < info.offset_data:
        raise TarError(f"{path} holds {info.name!r}, which does not lie within it: cut short, or damaged")


def _clean(name: str, path: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or name.startswith("/"):
        raise TarError(f"{path} holds {name!r}, a name that points out of it: not an archive to trust")
    return "/".join(parts)


class _Window(io.RawIOBase):
    """The part of a file that is an archive of its own, `length` bytes from `start` on, as a file."""

    def __init__(self, file: BinaryIO, start: int, length: int) -> None:
        self.file = file
        self.start = start
        self.length = length
        self._at = 0

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at)[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        size = min(size, self.length - self._at)
        if size <= 0:
            return b""
        self.file.seek(self.start + self._at)
        data = self.file.read(size)
        self._at += len(data)
        return data
