"""Patterns in, images out: which files there are, and the stable key of each."""

from __future__ import annotations

import dataclasses
import glob
import os
from collections.abc import Iterator
from pathlib import Path

from preprocess import storage

# What a folder is searched for; what a file really holds is told by its bytes.
SUFFIXES = (".jpeg", ".jpg", ".png")


class SourceError(ValueError):
    """An input that cannot be used; the message says which, and what to do."""


@dataclasses.dataclass(frozen=True)
class Image:
    """One image to convert: `key` names it in the dataset, `path` is where its bytes are."""

    key: str
    path: str


def images(patterns: list[str]) -> Iterator[Image]:
    """Finds the images of all `patterns`: folders (searched through), files, and globs; local or remote.

    The key is the path below the pattern's folder, with at least one folder name kept, so that a folder of
    classes, one class folder and a glob over either give an image the same key: `class/name.JPEG`.

    Raises:
      SourceError: a pattern matches no image, or a folder cannot be read.
    """
    for pattern in patterns:
        found = False
        for image in _remote_images(pattern) if storage.is_remote(pattern) else _local_images(pattern):
            found = True
            if not image.key.isprintable():  # a name in another encoding comes as lone surrogates
                raise SourceError(f"the file name {image.path!r} is not printable UTF-8: rename the file")
            yield image
        if not found:
            raise SourceError(_nothing_found(pattern))


def key_of(path: str, root: str) -> str:
    """The key of the image at `path`, found by a pattern whose folder is `root`."""
    key = path.removeprefix(root.rstrip("/") + "/")
    return key if "/" in key else f"{root.rstrip('/').rpartition('/')[2]}/{key}"


def _local_images(pattern: str) -> Iterator[Image]:
    path = Path(pattern).expanduser()
    if path.is_dir():
        root, files = path.absolute(), _walk(str(path.absolute()))
    elif path.is_file():
        root, files = path.absolute().parent, iter([str(path.absolute())])
    else:
        root, files = _glob_root(path), _glob(str(path.absolute()))
    for file in files:
        yield Image(key_of(file, str(root)), file)


def _glob_root(pattern: Path) -> Path:
    """The folder that stands before the first wildcard."""
    parts = pattern.absolute().parts
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
        yield from (f"{folder}/{name}" for name in sorted(files) if name.lower().endswith(SUFFIXES))


def _unreadable(error: OSError) -> None:
    raise SourceError(f"cannot read the folder {error.filename}: {error.strerror}")


def _remote_images(pattern: str) -> Iterator[Image]:
    whole_folder = not glob.has_magic(pattern) and not pattern.lower().endswith(SUFFIXES)
    search = storage.join(pattern, "**") if whole_folder else pattern
    root = pattern if whole_folder else pattern[: _first_magic(pattern)].rpartition("/")[0]
    try:
        (found,) = storage.filesystems().match([search])
    except Exception as e:  # every file system raises its own kinds
        raise SourceError(f"cannot list {pattern}: {e}") from None
    for metadata in found.metadata_list:
        if not whole_folder or metadata.path.lower().endswith(SUFFIXES):
            yield Image(key_of(metadata.path, root), metadata.path)


def _first_magic(pattern: str) -> int:
    return min((pattern.index(c) for c in "*?[" if c in pattern), default=len(pattern))


def _nothing_found(pattern: str) -> str:
    if not storage.is_remote(pattern) and Path(pattern).expanduser().is_dir():
        return (
            f"no image in the folder {pattern}: looked for {', '.join(SUFFIXES)} in it and all folders below"
        )
    return (
        f"--input {pattern} matches nothing: give a folder, a file or a quoted glob such as 'photos/*/*.JPEG'"
    )
