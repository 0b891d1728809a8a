"""Saves where the images of a tar are, so that the next run need not read the tar to find them.

An index is a file of JSON lines in the dataset: one line for each image, and a last one with the counts of
skipped files. It is valid as long as the path, size and modification time of the tar are the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import posixpath
import re
from collections import Counter
from collections.abc import Iterator

import msgspec

from preprocess.file_types import Skipped
from preprocess.storage import files
from preprocess.tars import Member, TarError, image_members

_FORMAT_VERSION = 3  # part of the name of an index, so that indexes of other versions are not read


class _SkippedCounts(msgspec.Struct, forbid_unknown_fields=True):
    """The last line of an index."""

    files: dict[str, int]
    folders: dict[str, int]


def read_or_make_index(path: str, output: str, skipped: Skipped) -> Iterator[Member]:
    """Yields the images of a tar from its saved index. Without one, reads the tar and saves its index first.

    Args:
      path: the tar, local or remote.
      output: the dataset directory.
      skipped: counts the other files of the tar.

    Raises:
      TarError: the tar cannot be read, or its index is damaged.
      OSError: the index cannot be read or written.
    """
    with _os_error_as_tar_error(path):
        tar_bytes = files.size(path)
        name = _index_name(path, tar_bytes, files.modified(path))
    index_path = files.join(output, name)
    if files.size(index_path) < 0:
        _write_index(path, output, name)
    yield from _read_index(index_path, tar_bytes, skipped)


def _index_name(path: str, tar_bytes: int, modified: float) -> str:
    """Returns the name of a tar's index in the dataset: another one if the tar has another size or time."""
    identity = f"{_FORMAT_VERSION} {path} {tar_bytes} {modified}".encode("utf-8", "surrogatepass")
    digest = hashlib.sha256(identity).hexdigest()[:16]
    stem = re.sub(r"[^\w.-]", "_", posixpath.basename(path), flags=re.ASCII)[:100]
    return f"{files.INDEX_DIR}/{stem}-{digest}.jsonl"


def _write_index(path: str, output: str, name: str) -> None:
    skipped = Skipped()
    with files.atomic_write(output, name) as index:
        for member in _read_members(path, skipped):
            line = [member.name, member.offset, member.size, member.fault]
            index.write(json.dumps(line).encode() + b"\n")
        index.write(json.dumps({"files": skipped.files, "folders": skipped.folders}).encode() + b"\n")


def _read_members(path: str, skipped: Skipped) -> Iterator[Member]:
    with _os_error_as_tar_error(path), files.open_binary(path) as archive:
        yield from image_members(archive, path, skipped)


@contextlib.contextmanager
def _os_error_as_tar_error(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise TarError(f"cannot read {path}: {e.strerror or e}") from None


def _read_index(index_path: str, tar_bytes: int, skipped: Skipped) -> Iterator[Member]:
    is_complete = False
    with files.open_binary(index_path) as lines:
        for line in lines:
            entry = None if is_complete else _parse_line(line, tar_bytes)
            if isinstance(entry, Member):
                yield entry
            elif entry is not None:
                skipped.add(entry)
                is_complete = True
            else:
                is_complete = False
                break
    if not is_complete:
        raise TarError(f"{index_path} is damaged: remove it, and run the same command again")


def _parse_line(line: bytes, tar_bytes: int) -> Member | Skipped | None:
    """Returns the content of a line of an index.

    None: the line is damaged, its image is not within the `tar_bytes` of the tar, or its name contains `..`.
    """
    try:
        value = json.loads(line)
        if isinstance(value, dict):
            counts = msgspec.convert(value, _SkippedCounts)
            return Skipped(Counter(counts.files), Counter(counts.folders))
        member = Member(*msgspec.convert(value, tuple[str, int, int, str]))
    except (ValueError, RecursionError, msgspec.MsgspecError):
        return None
    is_inside = 0 <= member.offset <= member.offset + member.size <= tar_bytes
    return member if is_inside and ".." not in member.name.split("/") else None
