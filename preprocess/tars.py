"""Finds the images in a tar archive and where each one lies; extracts nothing and loads no archive whole.

Class tars (`n01440764.tar`) and ImageNet's tar of class tars are read the same way: a tar within a tar is
searched where it lies.
"""

from __future__ import annotations

import dataclasses
import io
import posixpath
import tarfile
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from preprocess.file_types import TAR_SUFFIX, Kind, Skipped, describe, is_image, is_tar, kind_by_name

DEEPEST = 8  # tars within tars; ImageNet's has class tars, and nothing in these
_MOST_LINKS = 40  # followed from one member; Linux follows as many
_HEAD_BYTES = 16  # of a member whose name does not say what it is


class TarError(ValueError):
    """An archive that cannot be used; the message names it and says why."""


@dataclasses.dataclass(frozen=True)
class Member:
    """One image in an archive: `name`, with at least one folder, and its place in the outermost file.

    `fault`, if any, is the reason why it is left out, a colon and a space, and a detail.
    """

    name: str
    offset: int = 0
    size: int = 0
    fault: str = ""


@dataclasses.dataclass
class _Archive:
    """A tar that is searched: its bytes, its path for messages, and the folder that its members belong to."""

    window: _Window
    path: str
    prefix: str
    skipped: Skipped

    def key(self, name: str) -> str:
        """The member's name below its folders; one without a folder gets the name of the archive for one."""
        # That the archive's name is not UTF-8 is no fault of the images in it.
        own = posixpath.basename(self.path).encode("utf-8", "backslashreplace").decode()
        own = own[: -len(TAR_SUFFIX)] if own.lower().endswith(TAR_SUFFIX) else own
        return posixpath.join(self.prefix, name if "/" in name else f"{own}/{name}")


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where a regular member's bytes are; `fault` says why they are not in one piece there."""

    offset: int
    size: int
    fault: str = ""


class _Link(NamedTuple):
    """The member that a link leads to, empty when it is outside the archive; and what the link says."""

    target: str
    written: str


def members(file: BinaryIO, path: str, skipped: Skipped) -> Iterator[Member]:
    """Yields the images of a tar, and counts its other files in `skipped`.

    A member without a folder gets the archive's own name for one: `n01440764.tar` holds `n01440764/…`. A hard
    or symbolic link is followed within the archive. A link that leads out of it, a file with holes and what
    is no regular file are yielded with a `fault`.

    Raises:
      TarError: not an uncompressed tar, cut short, a member that cannot be where it is said to be, or a name
        that points out of the archive.
    """
    window = _Window(file, 0, file.seek(0, io.SEEK_END))
    yield from _members(_Archive(window, path, "", skipped), DEEPEST)


def _members(archive: _Archive, deeper: int) -> Iterator[Member]:
    if not deeper:
        raise TarError(f"{archive.path} lies in {DEEPEST} tars, one in the other: not an archive to trust")
    links: dict[str, _Link] = {}
    for info, name in _headers(archive):
        if info.islnk() or info.issym():
            links[name] = _Link(_target(info, name), info.linkname)
        elif name and not info.isdir() and not archive.skipped.add_hidden(name, archive.path):
            yield from _member(archive, name, _place(info), deeper)
    if links:
        yield from _linked(archive, links)


def _member(archive: _Archive, name: str, place: _Place, deeper: int) -> Iterator[Member]:
    """What a member that is no link holds: an image, the images of an inner tar, or nothing."""
    kind = kind_by_name(name)
    if kind is Kind.TAR and not place.fault:
        inner = _Window(archive.window.file, archive.window.start + place.offset, place.size)
        prefix = posixpath.join(archive.prefix, posixpath.dirname(name))
        yield from _members(_Archive(inner, name, prefix, archive.skipped), deeper - 1)
    elif _holds_image(archive, kind, place):
        offset = 0 if place.fault else archive.window.start + place.offset
        yield Member(archive.key(name), offset, 0 if place.fault else place.size, place.fault)
    else:
        archive.skipped.add_file(posixpath.basename(name))


def _holds_image(archive: _Archive, kind: Kind, place: _Place) -> bool:
    if kind is not Kind.UNSURE or place.fault:
        return kind is Kind.IMAGE
    archive.window.seek(place.offset)
    return is_image(archive.window.read(min(place.size, _HEAD_BYTES)))


def _headers(archive: _Archive) -> Iterator[tuple[tarfile.TarInfo, str]]:
    """Yields each member's header and its name."""
    window, path = archive.window, archive.path
    window.seek(0)
    try:
        # "r:" is without compression: offsets into a compressed archive would mean nothing.
        with tarfile.open(fileobj=window, mode="r:") as file:
            while (info := file.next()) is not None:
                # tarfile keeps all that it has seen, and that can be a million.
                file.members = []  # type: ignore[attr-defined]
                _check_place(info, file, window.length, path)
                yield info, _clean(info.name, path)
    except (TarError, OSError):
        raise
    except Exception as e:  # tarfile raises whatever it meets in a damaged header
        window.seek(0)
        head = window.read(512)
        why = e if is_tar(head) else f"it {describe(path, head)}"
        raise TarError(f"{path} cannot be read as an uncompressed tar: {why}") from None


def _place(info: tarfile.TarInfo) -> _Place:
    if not info.isreg():
        return _Place(0, 0, "unreadable: not a regular file")
    # Without any hole the one piece is all of the file, and lies there as any other.
    if info.issparse() and _pieces(info) != [(0, info.size)]:
        return _Place(0, 0, "unreadable: stored as a sparse file: make the tar without --sparse")
    return _Place(info.offset_data, info.size)


def _pieces(info: tarfile.TarInfo) -> list[tuple[int, int]]:
    """Offset in the file and size of what is stored of a file with holes, in bytes."""
    stored: Any = info.sparse  # typeshed has it as bytes
    return [(offset, size) for offset, size in stored or () if size]


def _target(info: tarfile.TarInfo, name: str) -> str:
    """The name of the member that a link leads to; empty when that is outside the archive."""
    # A hard link names a member; a symbolic link names a path that starts in its own folder.
    folder = posixpath.dirname(name) if info.issym() else ""
    target = posixpath.normpath(posixpath.join(folder, info.linkname))
    outside = (info.issym() and info.linkname.startswith("/")) or target.split("/")[0] == ".."
    return "" if outside else target.lstrip("/")


def _linked(archive: _Archive, links: dict[str, _Link]) -> Iterator[Member]:
    """The images that links lead to. The archive is read again: only now it is known which members matter."""
    ends = {name: _follow(name, links) for name in links}
    wanted = set(ends.values())
    places = {
        name: _place(info)
        for info, name in _headers(archive)
        if name in wanted and not (info.isdir() or info.islnk() or info.issym())
    }
    for name, end in ends.items():
        if not name or archive.skipped.add_hidden(name, archive.path):
            continue
        kind, place = kind_by_name(name), places.get(end)
        if place and kind is not Kind.TAR:  # tars that link to tars could go on without an end
            yield from _member(archive, name, place, DEEPEST)
        elif kind is Kind.IMAGE:
            fault = f"unreadable: a link to {links[name].written}, which is not in the archive"
            yield Member(archive.key(name), fault=fault)
        else:
            archive.skipped.add_file(posixpath.basename(name), "links")


def _follow(name: str, links: dict[str, _Link]) -> str:
    """The name at the end of a chain of links, of which some may be folders; empty when there is no end."""
    for _ in range(_MOST_LINKS):
        if name in links:
            name = links[name].target
            continue
        parts = name.split("/")
        folders = ("/".join(parts[:i]) for i in range(len(parts) - 1, 0, -1))
        linked = next((folder for folder in folders if folder in links), None)
        if linked is None:
            return name
        if not links[linked].target:
            return ""
        name = posixpath.normpath(posixpath.join(links[linked].target, name[len(linked) + 1 :]))
    return ""


def _check_place(info: tarfile.TarInfo, archive: tarfile.TarFile, length: int, path: str) -> None:
    """A member lies within its archive, and the next one after it: else reading might never end."""
    following = archive.offset  # where the next header is
    size = sum(size for _, size in _pieces(info)) if info.issparse() else info.size
    inside = not info.isreg() or 0 <= size <= length - info.offset_data
    if not inside or following < info.offset_data:
        raise TarError(f"{path} holds {info.name!r}, which does not lie within it: cut short, or damaged")


def _clean(name: str, path: str) -> str:
    """The member's name without `.`, `..`, and doubled or leading slashes; empty for the archive's root."""
    clean = posixpath.normpath(name.lstrip("/"))
    if clean.split("/")[0] == "..":
        raise TarError(f"{path} holds {name!r}, a name that points out of it: not an archive to trust")
    return "" if clean == "." else clean


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
