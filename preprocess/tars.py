"""Finds the images in a tar and their offsets, without extracting anything or loading the tar into memory.

Class tars (`n01440764.tar`) and ImageNet's tar of class tars are treated alike: a tar within a tar is read in
place.
"""

from __future__ import annotations

import dataclasses
import io
import posixpath
import tarfile
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from preprocess.file_types import (
    HEAD_BYTES,
    TAR_SUFFIX,
    Kind,
    Skipped,
    describe,
    is_image,
    is_tar,
    kind_by_name,
)
from preprocess.keys import to_utf8

MAX_DEPTH = 8  # levels of tars within tars; ImageNet's tar of class tars has 2
_MAX_LINKS = 40  # followed from one member, as in Linux


class TarError(ValueError):
    """A tar, or its saved index, cannot be used. The message contains its path and the reason."""


@dataclasses.dataclass(frozen=True)
class Member:
    """An image in a tar.

    Attributes:
      name: its path in the tar, with at least one folder.
      offset: where it begins in the outermost tar, in bytes.
      size: its size in bytes.
      fault: why it is rejected unread, as "reason: detail"; empty for others.
    """

    name: str
    offset: int = 0
    size: int = 0
    fault: str = ""


@dataclasses.dataclass
class _Archive:
    """A tar that is being read: its bytes, its path for messages, and the folder of its members' names."""

    window: _Window
    path: str
    folder: str
    skipped: Skipped

    def member_name(self, name: str) -> str:
        """Returns a name below the archive's folder. A name without a folder gets that of the archive."""
        # An archive name that is not UTF-8 is no reason to reject the images in the archive.
        stem = to_utf8(posixpath.basename(self.path))
        stem = stem[: -len(TAR_SUFFIX)] if stem.lower().endswith(TAR_SUFFIX) else stem
        return posixpath.join(self.folder, name if "/" in name else f"{stem}/{name}")


@dataclasses.dataclass(frozen=True)
class _Extent:
    """The bytes of a regular member in its archive, or the `fault` that they are not contiguous there."""

    offset: int
    size: int
    fault: str = ""


class _Link(NamedTuple):
    """The name of the member that a link points to (empty if outside the archive), and its text as stored."""

    target: str
    text: str


def image_members(file: BinaryIO, path: str, skipped: Skipped) -> Iterator[Member]:
    """Yields the images of a tar, and counts its other files in `skipped`.

    A member without a folder gets the name of the tar as its folder: `n01440764.tar` contains `n01440764/…`.
    Hard and symbolic links are followed within the tar. A link out of the tar, a sparse file, and any other
    member with the name of an image that is not a regular file is yielded with a `fault`.

    Raises:
      TarError: the file is not an uncompressed tar, it is truncated or damaged, or a name points out of it.
    """
    window = _Window(file, 0, file.seek(0, io.SEEK_END))
    yield from _archive_members(_Archive(window, path, "", skipped), MAX_DEPTH)


def _archive_members(archive: _Archive, max_depth: int) -> Iterator[Member]:
    if not max_depth:
        raise TarError(f"{archive.path} is nested in {MAX_DEPTH} tars, which is too deep: unpack them")
    links: dict[str, _Link] = {}
    for info, name in _headers(archive):
        if info.islnk() or info.issym():
            links[name] = _Link(_link_target(info, name), info.linkname)
        elif name and not info.isdir() and not archive.skipped.add_hidden(name, archive.path):
            yield from _file_members(archive, name, _extent(info), max_depth)
    if links:
        yield from _linked_members(archive, links)


def _file_members(archive: _Archive, name: str, extent: _Extent, max_depth: int) -> Iterator[Member]:
    """Yields the member `name` if it is an image, or the images of an inner tar; counts any other file."""
    kind = kind_by_name(name)
    if kind is Kind.TAR and not extent.fault:
        inner = _Window(archive.window.file, archive.window.start + extent.offset, extent.size)
        folder = posixpath.join(archive.folder, posixpath.dirname(name))
        yield from _archive_members(_Archive(inner, name, folder, archive.skipped), max_depth - 1)
    elif _is_image_member(archive, kind, extent):
        offset = 0 if extent.fault else archive.window.start + extent.offset
        yield Member(archive.member_name(name), offset, 0 if extent.fault else extent.size, extent.fault)
    else:
        archive.skipped.add_file(posixpath.basename(name))


def _is_image_member(archive: _Archive, kind: Kind, extent: _Extent) -> bool:
    if kind is not Kind.UNSURE or extent.fault:
        return kind is Kind.IMAGE
    archive.window.seek(extent.offset)
    return is_image(archive.window.read(min(extent.size, HEAD_BYTES)))


def _headers(archive: _Archive) -> Iterator[tuple[tarfile.TarInfo, str]]:
    """Yields the header and the normalized name of each member."""
    window, path = archive.window, archive.path
    window.seek(0)
    try:
        # "r:" refuses compressed archives, in which members have no offsets.
        with tarfile.open(fileobj=window, mode="r:") as file:
            while (info := file.next()) is not None:
                # tarfile keeps all headers in memory, of which there can be a million.
                file.members = []  # type: ignore[attr-defined]
                _check_extent(info, file, window.length, path)
                yield info, _normalize_name(info.name, path)
    except (TarError, OSError):
        raise
    except Exception as e:  # tarfile raises errors of many types for a damaged header
        window.seek(0)
        head = window.read(512)
        reason = e if is_tar(head) else f"it {describe(path, head)}"
        raise TarError(f"{path} cannot be read as an uncompressed tar: {reason}") from None


def _extent(info: tarfile.TarInfo) -> _Extent:
    """Returns where the bytes of a member are in its archive."""
    if not info.isreg():
        return _Extent(0, 0, "unreadable: not a regular file")
    # A sparse file without holes is stored in one piece, as any other file.
    if info.issparse() and _stored_pieces(info) != [(0, info.size)]:
        return _Extent(0, 0, "unreadable: stored as a sparse file: make the tar without --sparse")
    return _Extent(info.offset_data, info.size)


def _stored_pieces(info: tarfile.TarInfo) -> list[tuple[int, int]]:
    """Returns the offset in the file and the size, in bytes, of each stored piece of a sparse file."""
    pieces: Any = info.sparse  # typeshed declares it as bytes
    return [(offset, size) for offset, size in pieces or () if size]


def _link_target(info: tarfile.TarInfo, name: str) -> str:
    """Returns the name of the member that a link points to; empty if it is outside the archive."""
    # A hard link contains the name of a member, a symbolic link a path relative to its own folder.
    folder = posixpath.dirname(name) if info.issym() else ""
    target = posixpath.normpath(posixpath.join(folder, info.linkname))
    is_outside = (info.issym() and info.linkname.startswith("/")) or target.split("/")[0] == ".."
    return "" if is_outside else target.lstrip("/")


def _linked_members(archive: _Archive, links: dict[str, _Link]) -> Iterator[Member]:
    """Yields the images that links point to.

    The archive is read a second time. To remember the extents of all members in the first pass would need too
    much memory; now only those of the targets are needed.
    """
    targets = {name: _follow_links(name, links) for name in links}
    target_names = set(targets.values())
    extents = {
        name: _extent(info)
        for info, name in _headers(archive)
        if name in target_names and not (info.isdir() or info.islnk() or info.issym())
    }
    for name, target in targets.items():
        if not name or archive.skipped.add_hidden(name, archive.path):
            continue
        kind, extent = kind_by_name(name), extents.get(target)
        if extent and kind is not Kind.TAR:  # tars that link to each other could be followed without end
            yield from _file_members(archive, name, extent, MAX_DEPTH)
        elif kind is Kind.IMAGE:
            fault = f"unreadable: a link to {links[name].text}, which is not in the archive"
            yield Member(archive.member_name(name), fault=fault)
        else:
            archive.skipped.add_file(posixpath.basename(name), "links")


def _follow_links(name: str, links: dict[str, _Link]) -> str:
    """Returns the name at the end of a chain of links, some of which are folders; empty for a loop."""
    for _ in range(_MAX_LINKS):
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


def _check_extent(info: tarfile.TarInfo, archive: tarfile.TarFile, length: int, path: str) -> None:
    """Checks that a member is within its archive and that the next header follows it.

    Without the second check, a damaged archive could be read in an endless loop.

    Raises:
      TarError: it is not.
    """
    next_header = archive.offset
    size = sum(size for _, size in _stored_pieces(info)) if info.issparse() else info.size
    is_inside = not info.isreg() or 0 <= size <= length - info.offset_data
    if not is_inside or next_header < info.offset_data:
        raise TarError(
            f"{path} contains {info.name!r}, which is not within it: the tar is truncated or damaged"
        )


def _normalize_name(name: str, path: str) -> str:
    """Returns a member's name without `.`, `..`, and doubled or leading slashes; empty for the root folder.

    Raises:
      TarError: the name points out of the archive.
    """
    normalized = posixpath.normpath(name.lstrip("/"))
    if normalized.split("/")[0] == "..":
        raise TarError(f"{path} contains {name!r}, a name that points out of it: the tar may be malicious")
    return "" if normalized == "." else normalized


class _Window(io.RawIOBase):
    """The `length` bytes from `start` on of a file, as a file of their own."""

    def __init__(self, file: BinaryIO, start: int, length: int) -> None:
        self.file = file
        self.start = start
        self.length = length
        self._offset = 0

    def tell(self) -> int:
        return self._offset

    def seek(self, offset: int, whence: int = 0) -> int:
        self._offset = offset + (0, self._offset)[whence]
        return self._offset

    def read(self, size: int = -1) -> bytes:
        size = min(size, self.length - self._offset)
        if size <= 0:
            return b""
        self.file.seek(self.start + self._offset)
        data = self.file.read(size)
        self._offset += len(data)
        return data
