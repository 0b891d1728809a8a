"""Finds the images of --input: in folders, files, tars and globs, on local disk or in remote storage."""

from __future__ import annotations

import dataclasses
import errno
import posixpath
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from preprocess import cli, svg
from preprocess.file_types import (
    HEAD_BYTES,
    IMAGE_SUFFIXES,
    SVG_SUFFIXES,
    TAR_SUFFIX,
    Kind,
    Skipped,
    describe,
    is_image,
    is_tar,
    kind_by_name,
)
from preprocess.input_patterns import InputPattern, parse_pattern
from preprocess.keys import image_key, input_names, pair_name, relative_path, to_single_line, to_utf8
from preprocess.local_search import LocalSearch
from preprocess.remote_search import remote_files
from preprocess.storage import files
from preprocess.storage.base import CONNECTIONS, StorageError
from preprocess.tar_index import read_or_make_index
from preprocess.tars import Member, TarError

_BATCH_SIZE = 8 * CONNECTIONS  # files whose first bytes are read together


class SourceError(ValueError):
    """An input cannot be used. The message says which one and what to do."""


@dataclasses.dataclass(frozen=True)
class Location:
    """Where the bytes of an image are: `size` bytes from `offset` on of the file `path`; -1: all of it."""

    path: str
    offset: int = 0
    size: int = -1


@dataclasses.dataclass(frozen=True)
class Image:
    """An image to convert.

    Attributes:
      key: its name in the dataset.
      path: the file that contains it.
      offset: where it begins in the file, in bytes.
      size: its size in bytes; -1: all of the file.
      split: `train` or `val` if the command line assigns one, else None.
      fault: why it is rejected unread, as "reason: detail"; empty for others.
      input: the name of its input, which differs from the names of the other inputs.
      stem: what its path has in common with that of its drawing or colouring; empty if it needs none.
      drawing: where the drawing is whose colouring the image is.
    """

    key: str
    path: str
    offset: int = 0
    size: int = -1
    split: str | None = None
    fault: str = ""
    input: str = ""
    stem: str = ""
    drawing: Location | None = None


def images(
    patterns: list[str],
    output: str,
    split: str | None = None,
    skipped: Skipped | None = None,
    stem_prefixes: list[str] | None = None,
) -> Iterator[Image]:
    """Yields the images of all `patterns`: folders (searched recursively), files, tars and globs.

    The key is the path below the pattern's folder, with at least one folder name kept. A folder of classes,
    one class folder, a class tar, a tar of class tars and a glob over any of them thus give an image the same
    key, `class/name.JPEG`. How a path is typed (`.`, `..`, doubled slashes) makes no difference.

    Files with the usual extensions of JPEG, PNG and SVG are taken. Files with no extension or an unknown one
    are taken if their first bytes are those of a JPEG, PNG or SVG. Hidden and system files and folders are
    skipped unless the pattern names them. The dataset itself is skipped.

    Args:
      patterns: the arguments of --input.
      output: the dataset directory, in which the indexes of tars are saved.
      split: the split of all these images, if the command line assigns one.
      skipped: counts the files that are skipped. It is complete when the iterator is exhausted.
      stem_prefixes: of pairs, what the stems of each pattern begin with. Without it, stems stay empty.

    Raises:
      SourceError: a pattern matches no image, a folder or tar cannot be read, or a named file is neither an
        image nor a tar.
    """
    skipped = Skipped() if skipped is None else skipped
    parsed = [_parse(text) for text in patterns]
    names = input_names({pattern.root for pattern in parsed})
    for number, pattern in enumerate(parsed):
        pattern_skipped = Skipped()
        is_empty = True
        for relative, path, member in _locate_images(pattern, output, pattern_skipped):
            is_empty = False
            if relative.lower().endswith(SVG_SUFFIXES):
                _check_svg(relative)
            image = _image(pattern.root, relative, path, member, names[pattern.root], split)
            if stem_prefixes is not None:
                stem = stem_prefixes[number] + _stem(pattern, relative, path, member)
                image = dataclasses.replace(image, stem=to_utf8(stem))
            yield image
        if is_empty:
            raise SourceError(_explain_no_images(pattern, pattern_skipped))
        skipped.add(pattern_skipped)


@cache
def _is_svg_available() -> bool:
    return svg.is_available()


def _check_svg(name: str) -> None:
    if not _is_svg_available():
        install = cli.install_command("preprocess,art")
        raise SourceError(f"{name} is an SVG, which resvg-py reads: run {install}")


def _parse(text: str) -> InputPattern:
    try:
        return parse_pattern(text)
    except PermissionError as e:
        raise SourceError(f"cannot read {text}: {e.strerror}") from None


def _image(root: str, relative: str, path: str, member: Member, input_name: str, split: str | None) -> Image:
    """Returns the image with the path `relative` below the folder `root` of an input."""
    key, fault = image_key(relative, root), member.fault
    if not (key.isascii() and key.isprintable()):
        key, fault = to_single_line(key, fault)
    # The key of an image in `root` itself begins with the last part of the input's name.
    input_name = input_name if "/" in relative else posixpath.dirname(input_name)
    return Image(key, path, member.offset, member.size, split, to_utf8(fault), input_name)


def _stem(pattern: InputPattern, relative: str, path: str, member: Member) -> str:
    """Returns the stem of an image of a pair, see `pair_name`. A tar is treated like a folder of its name."""
    file = relative_path(path, pattern.root)
    if kind_by_name(path) is not Kind.TAR or not (pattern.glob or pattern.is_file):
        return pair_name(relative, pattern.glob)
    folder = posixpath.basename(path)[: -len(TAR_SUFFIX)] + "/"
    prefix = pair_name(file, pattern.glob) if pattern.glob else ""
    return posixpath.join(prefix, pair_name(member.name.removeprefix(folder), ""))


def _locate_images(pattern: InputPattern, output: str, skipped: Skipped) -> Iterator[tuple[str, str, Member]]:
    """Yields the path of each image below the pattern's root, its file, and where it is in the file."""
    for file, kind in _images_and_tars(pattern, output, skipped):
        relative = relative_path(file.path, pattern.root)
        if kind is Kind.TAR:
            # A class tar takes the place of a class folder of its name.
            folder = posixpath.dirname(relative)
            for member in _tar_members(file.path, output, skipped):
                yield posixpath.join(folder, member.name), file.path, member
        else:
            yield relative, file.path, Member(relative, 0, file.size)


def _tar_members(path: str, output: str, skipped: Skipped) -> Iterator[Member]:
    try:
        yield from read_or_make_index(path, output, skipped)
    except TarError as e:
        raise SourceError(str(e)) from None


def _images_and_tars(pattern: InputPattern, output: str, skipped: Skipped) -> Iterator[tuple[Location, Kind]]:
    """Yields the images and tars of a pattern, and counts all other files in `skipped`."""
    if pattern.is_file:
        yield _named_file(pattern)
        return
    batch: list[Location] = []
    for file in search(pattern, output, skipped):
        kind = kind_by_name(file.path)
        if kind is Kind.OTHER:
            skipped.add_file(posixpath.basename(file.path))
        elif kind is not Kind.UNSURE:
            yield file, kind
        else:
            batch.append(file)
        if len(batch) == _BATCH_SIZE:
            yield from _images_by_content(batch, skipped)
            batch.clear()
    yield from _images_by_content(batch, skipped)


def search(pattern: InputPattern, output: str, skipped: Skipped) -> Iterator[Location]:
    """Yields all visible files of a folder or glob; their sizes are -1 if they are local.

    Raises:
      SourceError: the folder or the storage cannot be read.
    """
    if files.is_remote(pattern.path):
        try:
            for stored in remote_files(pattern, output, skipped):
                yield Location(stored.path, size=stored.size)
        except StorageError as e:
            raise SourceError(str(e)) from None
    else:
        try:
            yield from map(Location, LocalSearch(pattern, output, skipped).paths())
        except OSError as e:
            raise SourceError(f"cannot read the folder {e.filename}: {e.strerror}") from None


def _named_file(pattern: InputPattern) -> tuple[Location, Kind]:
    """Returns the file that a pattern names and its kind, by its name or else by its first bytes."""
    is_remote = files.is_remote(pattern.path)
    file = Location(pattern.path, size=_remote_size(pattern.path) if is_remote else -1)
    if is_remote and file.size < 0:
        raise SourceError(_explain_no_images(pattern, Skipped()))
    kind = kind_by_name(pattern.path)
    if kind in (Kind.IMAGE, Kind.TAR):
        return file, kind
    head = _named_head(pattern, file)
    if is_image(head) or is_tar(head):
        return file, Kind.IMAGE if is_image(head) else Kind.TAR
    raise SourceError(f"{pattern.text} {describe(pattern.text, head)}")


def _images_by_content(batch: list[Location], skipped: Skipped) -> Iterator[tuple[Location, Kind]]:
    """Yields the images among files whose names do not show a type, and counts the others in `skipped`."""
    if not batch:
        return
    if files.is_remote(batch[0].path):
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            heads = list(pool.map(read_head, batch))
    else:
        heads = [read_head(file) for file in batch]
    for file, head in zip(batch, heads, strict=True):
        if isinstance(head, OSError):
            skipped.add_file(file.path, _skip_reason(file, head))
        elif is_image(head):
            yield file, Kind.IMAGE
        else:
            skipped.add_file(posixpath.basename(file.path))


def read_head(file: Location, num_bytes: int = HEAD_BYTES) -> bytes | OSError:
    """Returns the first `num_bytes` of a file, or the error that prevents reading it."""
    try:
        if files.is_remote(file.path):
            return files.read(file.path, 0, min(file.size, num_bytes))
        with files.open_binary(file.path) as opened:
            return opened.read(num_bytes)
    except OSError as e:
        return e


def _named_head(pattern: InputPattern, file: Location) -> bytes:
    """Returns the first `HEAD_BYTES` of a file that a pattern names."""
    head = read_head(file)
    if isinstance(head, OSError):
        raise SourceError(f"cannot read {pattern.text}: {head.strerror or head}")
    return head


def _skip_reason(file: Location, error: OSError) -> str:
    """Returns the reason under which an unreadable file of unknown type is counted.

    Raises:
      SourceError: the error may be temporary; the next run would find other images.
    """
    if isinstance(error, FileNotFoundError):
        return "broken links"
    if isinstance(error, PermissionError):
        return "unreadable"
    if error.errno in (errno.EINVAL, errno.ELOOP, errno.ENXIO, errno.ENODEV):
        return "not regular files"
    raise SourceError(f"cannot read {file.path}: {error.strerror or error}")


def _remote_size(path: str) -> int:
    """Returns the size of a remote file in bytes; -1 if there is none."""
    try:
        return files.size(path)
    except OSError as e:
        raise SourceError(str(e)) from None


# ----------------------------------------------------------------------------------------------- messages


def _explain_no_images(pattern: InputPattern, skipped: Skipped) -> str:
    """Returns why a pattern gives no image, and what to do."""
    is_remote = files.is_remote(pattern.path)
    suffix = f"; {skipped}" if str(skipped) else ""
    if pattern.glob and suffix:
        return f"no image matches {pattern.text}{suffix}"
    if suffix or not (pattern.glob or pattern.is_file or is_remote):
        extensions = ", ".join((*IMAGE_SUFFIXES[:3], TAR_SUFFIX))
        return (
            f"no image in the folder {pattern.text}: looked for {extensions} and similar files in it and its "
            f"subfolders{suffix}"
        )
    if is_remote and not (pattern.glob or pattern.is_file) and (size := _remote_size(pattern.path)) >= 0:
        return _explain_remote_file(pattern, size)
    return (
        f"{pattern.text} matches nothing: give a folder, a file, a tar or a quoted glob such as "
        "'photos/*/*.JPEG'"
    )


def _explain_remote_file(pattern: InputPattern, size: int) -> str:
    """Returns what a remote file is whose name is neither that of an image nor that of a tar."""
    head = _named_head(pattern, Location(pattern.path, size=size))
    if is_image(head) or is_tar(head):
        kind, suffix = ("an image", ".jpg") if is_image(head) else ("a tar", TAR_SUFFIX)
        return f"{pattern.text} is {kind}, but its name does not end like one: rename it to end in {suffix}"
    return f"{pattern.text} {describe(posixpath.basename(pattern.path), head)}"
