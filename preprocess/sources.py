"""Patterns in, images out: which files there are, and the stable key of each."""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from preprocess import storage
from preprocess.stores import before_magic
from preprocess.tars import TAR_SUFFIX, Member, TarError, members

# What a folder is searched for; what a file really holds is told by its bytes.
SUFFIXES = (".jpeg", ".jpg", ".png")


class SourceError(ValueError):
    """An input that cannot be used; the message says which, and what to do."""


@dataclasses.dataclass(frozen=True)
class Image:
    """One image to convert: `key` names it in the dataset, the others say where its bytes are.

    `size` bytes from `offset` on in the file `path`; size -1 is the whole file. `split` is None unless the
    command line says it.
    """

    key: str
    path: str
    offset: int = 0
    size: int = -1
    split: str | None = None


def images(patterns: list[str], output: str, split: str | None = None) -> Iterator[Image]:
    """Finds the images of all `patterns`: folders (searched through), files, tars and globs; local or remote.

    The key is the path below the pattern's folder, with at least one folder name kept, so that a folder of
    classes, one class folder, a class tar, a tar of class tars and a glob over any of them give an image the
    same key: `class/name.JPEG`.

    Args:
      patterns: what --input was given.
      output: the dataset directory; the places of the images in each tar are kept there for the next time.
      split: the split that all of them belong to, if the command line says so.

    Raises:
      SourceError: a pattern matches no image, or a folder or tar cannot be read.
    """
    for pattern in patterns:
        found = False
        for image in _images(pattern, output):
            found = True
            if not image.key.isprintable():  # a name in another encoding comes as lone surrogates
                raise SourceError(f"the file name {image.path!r} is not printable UTF-8: rename the file")
            yield dataclasses.replace(image, split=split) if split else image
        if not found:
            raise SourceError(_nothing_found(pattern))


def _images(pattern: str, output: str) -> Iterator[Image]:
    found = _remote_files(pattern) if storage.is_remote(pattern) else _local_files(pattern)
    for path, root in found:
        if path.lower().endswith(TAR_SUFFIX):
            yield from _in_tar(path, root, output)
        else:
            yield Image(key_of(path, root), path)


def _in_tar(path: str, root: str, output: str) -> Iterator[Image]:
    """A class tar stands for the class folder of its name, in the folder where it lies."""
    folder = path.removeprefix(root.rstrip("/") + "/").rpartition("/")[0]
    try:
        for member in _indexed_members(path, output):
            key = f"{folder}/{member.name}" if folder else member.name
            yield Image(key, path, member.offset, member.size)
    except TarError as e:
        raise SourceError(str(e)) from None
    except OSError as e:
        raise SourceError(f"cannot read {path}: {e.strerror or e}") from None


def _indexed_members(path: str, output: str) -> Iterator[Member]:
    """The members of a tar from its saved index, or from the tar itself, which then is indexed."""
    size = storage.size(path)
    state = f"{path} {size} {storage.modified(path)}".encode()
    digest = hashlib.sha256(state).hexdigest()[:16]
    name = f"{storage.INDEX_DIR}/{path.rpartition('/')[2]}-{digest}.jsonl"
    saved = storage.join(output, name)
    if storage.size(saved) < 0:
        with storage.open_binary(path) as archive, storage.write_atomically(output, name) as file:
            for member in members(archive, path, SUFFIXES):
                file.write(json.dumps([member.name, member.offset, member.size]).encode() + b"\n")
    with storage.open_binary(saved) as lines:
        for line in lines:
            if (place := _saved_member(line, size)) is None:
                raise SourceError(f"{saved} is damaged: remove it, and run the same command again")
            yield place


def _saved_member(line: bytes, most: int) -> Member | None:
    """None for what is no line of an index, or points out of a tar of `most` bytes."""
    try:
        name, offset, size = msgspec.convert(json.loads(line), tuple[str, int, int])
    except (ValueError, RecursionError, msgspec.MsgspecError):
        return None
    inside = 0 <= offset <= offset + size <= most and ".." not in name.split("/")
    return Member(name, offset, size) if inside else None


def key_of(path: str, root: str) -> str:
    """The key of the image at `path`, found by a pattern whose folder is `root`."""
    key = path.removeprefix(root.rstrip("/") + "/")
    return key if "/" in key else f"{root.rstrip('/').rpartition('/')[2]}/{key}"


def _local_files(pattern: str) -> Iterator[tuple[str, str]]:
    """Yields (path, root): every file a local pattern means, and the folder its key is relative to."""
    path = Path(pattern).expanduser().absolute()
    if path.is_dir():
        root, files = path, _walk(str(path))
    elif path.is_file():
        root, files = path.parent, iter([str(path)])
    else:
        root, files = _glob_root(path), _glob(str(path))
    yield from ((file, str(root)) for file in files)


def _glob_root(pattern: Path) -> Path:
    """The folder that stands before the first wildcard."""
    parts = pattern.parts
    fixed = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts) - 1)
    return Path(*parts[:fixed])


def _glob(pattern: str) -> Iterator[str]:
    for match in glob.iglob(pattern, recursive=True):  # noqa: PTH207 -- Path.glob takes no absolute pattern
        if Path(match).is_file():
            yield match
        elif not pattern.endswith("**"):  # a folder was named by a wildcard: all below it is meant
            yield from _walk(match)


def _walk(root: str) -> Iterator[str]:
    """Every image file below `root`, links followed, each real folder once."""
    seen: set[str] = set()
    for folder, subfolders, files in os.walk(root, onerror=_unreadable, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders.sort()
        yield from (
            f"{folder}/{name}" for name in sorted(files) if name.lower().endswith((*SUFFIXES, TAR_SUFFIX))
        )


def _unreadable(error: OSError) -> None:
    raise SourceError(f"cannot read the folder {error.filename}: {error.strerror}")


def _remote_files(pattern: str) -> Iterator[tuple[str, str]]:
    """As `_local_files`, for a remote store, to which a folder is a prefix."""
    wanted = (*SUFFIXES, TAR_SUFFIX)
    whole_folder = not glob.has_magic(pattern) and not pattern.lower().endswith(wanted)
    search = storage.join(pattern, "**") if whole_folder else pattern
    root = pattern if whole_folder else before_magic(pattern).rpartition("/")[0]
    try:
        for stored in storage.listing(search):
            if not whole_folder or stored.path.lower().endswith(wanted):
                yield stored.path, root
    except storage.StorageError as e:
        raise SourceError(str(e)) from None


def _nothing_found(pattern: str) -> str:
    if not storage.is_remote(pattern) and Path(pattern).expanduser().is_dir():
        looked = ", ".join((*SUFFIXES, TAR_SUFFIX))
        return f"no image in the folder {pattern}: looked for {looked} in it and all folders below"
    return (
        f"--input {pattern} matches nothing: give a folder, a file, a tar or a quoted glob such as "
        "'photos/*/*.JPEG'"
    )
