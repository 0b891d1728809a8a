"""Finds the images that `--input` means, and gives each its stable key."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fnmatch
import glob
import hashlib
import json
import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from stat import S_ISDIR

import msgspec

from preprocess.file_types import (
    HEAD_BYTES,
    IMAGE_SUFFIXES,
    TAR_SUFFIX,
    Kind,
    Skipped,
    describe,
    is_hidden,
    is_image,
    is_tar,
    kind_by_name,
)
from preprocess.storage import files
from preprocess.storage.base import CONNECTIONS, StorageError, compile_glob, glob_prefix
from preprocess.tars import Member, TarError, members

_INDEX_FORMAT = 2  # part of a saved index's name, so that one of an earlier version is not read
_HIDING = (".", "@", "#", "$", "_")  # with which the names of hidden files and folders mostly begin
_AT_ONCE = 8 * CONNECTIONS  # files looked at together


class SourceError(ValueError):
    """An input that cannot be used; the message says which, and what to do."""


@dataclasses.dataclass(frozen=True)
class Image:
    """One image to convert: `key` names it in the dataset, the others say where its bytes are.

    `size` bytes from `offset` on in the file `path`; size -1 is the whole file. `split` is None unless the
    command line says it. `fault` says why the image is left out without being read: a reason, a colon and a
    space, a detail. `input` tells the inputs of one command apart, also where they hold the same keys.
    """

    key: str
    path: str
    offset: int = 0
    size: int = -1
    split: str | None = None
    fault: str = ""
    input: str = ""


@dataclasses.dataclass(frozen=True)
class _Input:
    """One pattern of the command line: the folder `root` that keys are relative to, and what to take of it.

    `rest` is the part of a glob from its first wildcard on. Without one, `path` is a folder to search or,
    with `is_file`, a file.
    """

    pattern: str
    path: str
    root: str
    is_file: bool = False
    rest: str = ""


@dataclasses.dataclass(frozen=True)
class _File:
    """A file that may be an image or a tar; `size` in bytes, -1 where it was not asked for."""

    path: str
    size: int = -1


def images(
    patterns: list[str], output: str, split: str | None = None, skipped: Skipped | None = None
) -> Iterator[Image]:
    """Finds the images of all `patterns`: folders (searched through), files, tars and globs; local or remote.

    The key is the path below the pattern's folder, with at least one folder name kept, so that a folder of
    classes, one class folder, a class tar, a tar of class tars and a glob over any of them give an image the
    same key: `class/name.JPEG`. How a path is typed (`.`, `..`, doubled slashes) makes no difference.

    Files with the usual names of JPEG and PNG are taken. Files without an extension or with an unknown one
    are taken when their first bytes are those of a JPEG or PNG. Hidden and system files and folders are
    skipped, unless the pattern names them. So is the dataset itself.

    Args:
      patterns: what --input was given.
      output: the dataset directory; the places of the images in each tar are kept there for the next time.
      split: the split that all of them belong to, if the command line says so.
      skipped: counts what is not taken; complete when all images are found.

    Raises:
      SourceError: a pattern matches no image, a folder or tar cannot be read, or a named file is neither an
        image nor a tar.
    """
    skipped = Skipped() if skipped is None else skipped
    inputs = [_input(pattern) for pattern in patterns]
    names = _input_names({each.root for each in inputs})
    for each in inputs:
        here, found = Skipped(), False
        for below, path, member in _places(each, output, here):
            found = True
            yield _image(each.root, below, path, member, names[each.root], split)
        if not found:
            raise SourceError(_nothing_found(each, here))
        skipped.add(here)


def _image(root: str, below: str, path: str, place: Member, name: str, split: str | None) -> Image:
    """The image `below` the folder `root` of the input called `name`."""
    key, fault = key_of(below, root), place.fault
    if not (key.isascii() and key.isprintable()):
        key, fault = _checked(key, fault)
    # The key of an image in `root` itself begins with the last part of the input's name.
    name = name if "/" in below else posixpath.dirname(name)
    return Image(key, path, place.offset, place.size, split, _as_text(fault), name)


# -------------------------------------------------------------------------------------------------- keys


def key_of(path: str, root: str) -> str:
    """The key of the image at `path`, found by a pattern whose folder is `root`."""
    below = _below(path, root)
    folder = "" if "/" in below else root.rstrip("/").rpartition("/")[2]
    # That a folder's name is not UTF-8 is no fault of the images in it.
    return f"{_as_text(folder)}/{below}" if folder else below


def _below(path: str, root: str) -> str:
    below = path.removeprefix(root.rstrip("/") + "/")
    return posixpath.normpath(below).lstrip("/") if files.is_remote(path) else below


def _as_text(name: str) -> str:
    """A name in UTF-8. Bytes in another encoding, which Python keeps as surrogates, are escaped."""
    return name.encode("utf-8", "backslashreplace").decode()


def _checked(key: str, fault: str) -> tuple[str, str]:
    """A key that is one line of UTF-8, and the fault of an image whose name is not."""
    text = _as_text(key)
    if text != key:
        fault = "name: the file name is not UTF-8: rename the file"
    escaped = text.replace("\n", "\\n").replace("\r", "\\r").replace("\0", "\\0")
    if escaped != text:
        fault = "name: the file name holds the end of a line: rename the file"
    return escaped, fault


def _input_names(roots: set[str]) -> dict[str, str]:
    """The last parts of each folder's path, as many as it takes to tell the folders apart."""
    parts = {root: [part for part in _as_text(root).split("/") if part] for root in roots}
    for count in range(1, max(map(len, parts.values()), default=0) + 1):
        names = {root: "/".join(of[-count:]) for root, of in parts.items()}
        if len(set(names.values())) == len(names):
            return names
    return {root: "/".join(of) for root, of in parts.items()}


# ---------------------------------------------------------------------------------------------- patterns


def _input(pattern: str) -> _Input:
    return _remote_input(pattern) if files.is_remote(pattern) else _local_input(pattern)


def _remote_input(pattern: str) -> _Input:
    scheme, _, rest = pattern.partition("://")
    path = f"{scheme}://{posixpath.normpath(rest)}" if rest else pattern
    if glob.has_magic(path):
        root = glob_prefix(path).rpartition("/")[0]
        return _Input(pattern, path, root, rest=path.removeprefix(f"{root}/"))
    if kind_by_name(path) in (Kind.IMAGE, Kind.TAR):
        return _Input(pattern, path, path.rpartition("/")[0], is_file=True)
    return _Input(pattern, path, path)


def _local_input(pattern: str) -> _Input:
    path = _plain(pattern)
    mode = _mode(path, pattern)
    if mode is not None and S_ISDIR(mode):
        return _Input(pattern, path, path)
    if mode is not None:
        return _Input(pattern, path, posixpath.dirname(path), is_file=True)
    root, rest = _split_glob(pattern)
    return _Input(pattern, path, root, rest=rest)


def _plain(typed: str) -> str:
    """The absolute path without `.`, `..` and doubled slashes, resolved as text.

    Where a symbolic link gives `..` another meaning to the system, the system's meaning counts.
    """
    text = re.sub("^//+", "/", posixpath.normpath(posixpath.join(_working_folder(typed), typed)))
    if ".." not in typed.split("/"):
        return text
    try:
        return text if Path(typed).samefile(text) else os.path.realpath(typed)
    except OSError:
        return text


def _working_folder(typed: str) -> str:
    """The working directory as the shell shows it: by the links through which the user came there."""
    if typed.startswith("/"):
        return "/"
    shown = os.environ.get("PWD", "")
    try:
        if shown.startswith("/") and Path(shown).samefile("."):
            return shown
    except OSError:
        pass  # it is of another process, or gone
    return str(Path.cwd())


def _mode(path: str, pattern: str) -> int | None:
    """The kind of file at `path`, as in `st_mode`; None where there is nothing. A broken link is a file."""
    for look in (os.stat, os.lstat):
        try:
            return look(path).st_mode
        except PermissionError as e:
            raise SourceError(f"cannot read {pattern}: {e.strerror}") from None
        except (OSError, ValueError):  # not there, a name too long, or none that the system could hold
            continue
    return None


def _split_glob(pattern: str) -> tuple[str, str]:
    """The folder before the first wildcard, and the rest of the pattern.

    What looks like a wildcard is none in the name of a folder that exists.
    """
    typed = pattern.split("/")
    at = 0
    while at < len(typed) - 1 and (
        not glob.has_magic(typed[at]) or os.path.lexists("/".join(typed[: at + 1]))
    ):
        at += 1
    root = _plain("/".join(typed[:at]) + "/" if at else ".")
    rest = posixpath.normpath("/".join(typed[at:])).split("/")
    rest = [part for part, before in zip(rest, ["", *rest], strict=False) if part != "**" or before != "**"]
    while rest[0] == "..":
        root, rest = posixpath.dirname(root), rest[1:]
    while len(rest) > 1 and not glob.has_magic(rest[0]):
        root, rest = posixpath.join(root, rest[0]), rest[1:]
    return root, "/".join(rest)


# ------------------------------------------------------------------------------------------------- files


def _places(each: _Input, output: str, skipped: Skipped) -> Iterator[tuple[str, str, Member]]:
    """Yields for each image its path below the input's folder, the file, and the place in that file."""
    for file, kind in _chosen(each, output, skipped):
        below = _below(file.path, each.root)
        if kind is Kind.TAR:
            # A class tar stands for the class folder of its name, in the folder where it lies.
            folder = posixpath.dirname(below)
            for member in _indexed_members(file.path, output, skipped):
                yield posixpath.join(folder, member.name), file.path, member
        else:
            yield below, file.path, Member(below, 0, file.size)


def _chosen(each: _Input, output: str, skipped: Skipped) -> Iterator[tuple[_File, Kind]]:
    """Yields the input's images and tars; counts all other files."""
    if each.is_file:
        yield _named_file(each)
        return
    remote = files.is_remote(each.path)
    found_files = (
        _remote_files(each, output, skipped) if remote else _LocalSearch(each, output, skipped).files()
    )
    unsure: list[_File] = []
    for file in found_files:
        kind = kind_by_name(file.path)
        if kind is Kind.OTHER:
            skipped.add_file(posixpath.basename(file.path))
        elif kind is not Kind.UNSURE:
            yield file, kind
        else:
            unsure.append(file)
        if len(unsure) == _AT_ONCE:
            yield from _by_content(unsure, skipped)
            unsure.clear()
    yield from _by_content(unsure, skipped)


def _named_file(each: _Input) -> tuple[_File, Kind]:
    """A file that the command line names: an image or a tar, by its name or else by its first bytes."""
    remote = files.is_remote(each.path)
    file = _File(each.path, _size(each.path) if remote else -1)
    if remote and file.size < 0:
        raise SourceError(_nothing_found(each, Skipped()))
    kind = kind_by_name(each.path)
    if kind in (Kind.IMAGE, Kind.TAR):
        return file, kind
    head = _head(file)
    if isinstance(head, OSError):
        raise SourceError(f"cannot read {each.pattern}: {head.strerror or head}")
    if is_image(head) or is_tar(head):
        return file, Kind.IMAGE if is_image(head) else Kind.TAR
    raise SourceError(f"{each.pattern} {describe(each.pattern, head)}")


def _by_content(unsure: list[_File], skipped: Skipped) -> Iterator[tuple[_File, Kind]]:
    """Yields the images among `unsure`, whose names do not say what they are; counts the others."""
    if not unsure:
        return
    if files.is_remote(unsure[0].path):
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            heads = list(pool.map(_head, unsure))
    else:
        heads = [_head(file) for file in unsure]
    for file, head in zip(unsure, heads, strict=True):
        if isinstance(head, OSError):
            skipped.add_file(file.path, _why_unreadable(file, head))
        elif is_image(head):
            yield file, Kind.IMAGE
        else:
            skipped.add_file(posixpath.basename(file.path))


def _head(file: _File) -> bytes | OSError:
    """The first bytes of a file, or why they cannot be read."""
    try:
        if files.is_remote(file.path):
            return files.read(file.path, 0, min(file.size, HEAD_BYTES))
        with files.open_binary(file.path) as opened:
            return opened.read(HEAD_BYTES)
    except OSError as e:
        return e


def _why_unreadable(file: _File, error: OSError) -> str:
    """The reason under which a file is counted that has no image's name and cannot be read.

    Raises:
      SourceError: the fault may pass, as that of a network does; the next run would find other images.
    """
    if isinstance(error, FileNotFoundError):
        return "broken links"
    if isinstance(error, PermissionError):
        return "unreadable"
    if error.errno in (errno.EINVAL, errno.ELOOP, errno.ENXIO, errno.ENODEV):
        return "not regular files"
    raise SourceError(f"cannot read {file.path}: {error.strerror or error}")


def _size(path: str) -> int:
    """The size of a remote file in bytes; -1 where there is none."""
    try:
        return files.size(path)
    except OSError as e:
        raise SourceError(str(e)) from None


def _remote_files(each: _Input, output: str, skipped: Skipped) -> Iterator[_File]:
    """Every file below a remote folder, or that matches a remote glob. To a store, a folder is a prefix."""
    # What the pattern itself calls by a hidden name is meant.
    meant = [part for part in each.rest.split("/") if part.startswith(_HIDING) or not glob.has_magic(part)]
    # All below a folder that was named by a wildcard is meant. Stores list by the prefix in any case.
    matches = [compile_glob(pattern).match for pattern in (each.path, f"{each.path}/**")] if each.rest else []
    dataset = files.join(output, "")
    searched = not files.join(each.root, "").startswith(dataset)  # around the dataset, not in it
    found = False
    try:
        for stored in files.listing(f"{glob_prefix(each.path) if each.rest else f'{each.path}/'}**"):
            found = True
            # Not a folder's own entry, as some programs make it, nor a file of the dataset.
            if stored.path.endswith("/") or (searched and stored.path.startswith(dataset)):
                continue
            if matches and not any(match(stored.path) for match in matches):
                continue
            below = _below(stored.path, each.root)
            if meant and each.rest:
                parts = below.split("/")
                below = "/".join("-" if any(fnmatch.fnmatchcase(p, m) for m in meant) else p for p in parts)
            if not skipped.add_hidden(below, each.root):
                yield _File(stored.path, stored.size)
    except StorageError as e:
        raise SourceError(str(e)) from None
    if not (found or each.rest) and (size := _size(each.path)) >= 0:
        head = _head(_File(each.path, size))
        if isinstance(head, OSError):
            raise SourceError(f"cannot read {each.pattern}: {head.strerror or head}")
        if is_image(head) or is_tar(head):
            what, suffix = ("an image", ".jpg") if is_image(head) else ("a tar", TAR_SUFFIX)
            raise SourceError(f"{each.pattern} is {what} without the ending of one: rename it, as {suffix}")
        raise SourceError(f"{each.pattern} {describe(posixpath.basename(each.path), head)}")


class _LocalSearch:
    """The files of one local input: all below a folder, or those that match a glob."""

    def __init__(self, each: _Input, output: str, skipped: Skipped) -> None:
        self._each = each
        self._skipped = skipped
        self._output = "" if files.is_remote(output) else os.path.realpath(output)

    def files(self) -> Iterator[_File]:
        """Yields every file, visible and not in the dataset; links are followed, each real folder once."""
        if not self._each.rest:
            yield from map(_File, self._walk(self._each.root))
            return
        for path in self._matches(self._each.root, self._each.rest.split("/")):
            # A folder that was named by a wildcard: all below it is meant.
            yield from map(_File, self._walk(path) if os.path.isdir(path) else [path])  # noqa: PTH112

    def _walk(self, root: str) -> Iterator[str]:
        for folder, _, names in self._folders(root):
            for name in sorted(names):
                if is_hidden(name):
                    self._skipped.add_file(name, "hidden")
                else:
                    yield f"{folder}/{name}"

    def _folders(self, root: str) -> Iterator[tuple[str, list[str], list[str]]]:
        """Yields each folder from `root` down, and the names of its subfolders and files.

        A subfolder that is removed from the list is not visited.
        """
        seen = {self._output} - {os.path.realpath(root)}
        for folder, subfolders, names in os.walk(root, onerror=self._unreadable, followlinks=True):
            real = os.path.realpath(folder)
            if real in seen:
                subfolders.clear()
                continue
            seen.add(real)
            folder = folder.rstrip("/")
            subfolders[:] = [
                name for name in sorted(subfolders) if not self._is_hidden(f"{folder}/{name}", name)
            ]
            yield folder, subfolders, names

    def _matches(self, folder: str, parts: list[str]) -> Iterator[str]:
        """Yields the files and folders below `folder` that match a glob's parts."""
        first, rest = parts[0], parts[1:]
        if first != "**":
            for name in self._names(folder, first):
                path = f"{folder.rstrip('/')}/{name}"
                if not rest:
                    yield path
                elif os.path.isdir(path):  # noqa: PTH112
                    yield from self._matches(path, rest)
        elif not rest:
            yield folder
        else:
            for sub, subfolders, _ in self._folders(folder):
                deeper = {f"{sub}/{name}" for name in subfolders}
                for path in self._matches(sub, rest):
                    yield path
                    deeper.discard(path)  # all of it was meant, so it needs no second visit
                subfolders[:] = [name for name in subfolders if f"{sub}/{name}" in deeper]

    def _names(self, folder: str, part: str) -> list[str]:
        """The names in `folder` that match one part of a glob; hidden ones only when it says so."""
        if not glob.has_magic(part) or os.path.lexists(f"{folder}/{part}"):
            return [part] if os.path.lexists(f"{folder}/{part}") else []
        try:
            names = sorted(fnmatch.filter(os.listdir(folder), part))  # noqa: PTH208
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as e:
            self._unreadable(e)
            return []
        named = part.startswith(_HIDING)  # the pattern itself calls them by a hidden name
        return [name for name in names if named or not self._is_hidden(f"{folder}/{name}", name)]

    def _is_hidden(self, path: str, name: str) -> bool:
        """True for the dataset, and for hidden files and folders, which are counted."""
        if not is_hidden(name):
            return name == posixpath.basename(self._output) and os.path.realpath(path) == self._output
        if os.path.isdir(path):  # noqa: PTH112
            self._skipped.add_hidden_folder(path)
        else:
            self._skipped.add_file(name, "hidden")
        return True

    def _unreadable(self, error: OSError) -> None:
        """Counts a folder that may not be read, unless it is the named one. Other faults may pass."""
        if isinstance(error, PermissionError) and error.filename.rstrip("/") != self._each.root.rstrip("/"):
            self._skipped.folders[f"{_as_text(error.filename)} ({error.strerror})"] += 1
            return
        raise SourceError(f"cannot read the folder {error.filename}: {error.strerror}")


# -------------------------------------------------------------------------------------------------- tars


def _indexed_members(path: str, output: str, skipped: Skipped) -> Iterator[Member]:
    """The images of a tar from its saved index, or from the tar itself, which then is indexed."""
    with _explain_tar_errors(path):
        size = files.size(path)
        state = f"{_INDEX_FORMAT} {path} {size} {files.modified(path)}".encode("utf-8", "surrogatepass")
    digest = hashlib.sha256(state).hexdigest()[:16]
    stem = re.sub(r"[^\w.-]", "_", posixpath.basename(path), flags=re.ASCII)[:100]
    name = f"{files.INDEX_DIR}/{stem}-{digest}.jsonl"
    saved = files.join(output, name)
    if files.size(saved) < 0:
        _write_index(path, output, name)
    yield from _read_index(saved, size, skipped)


def _write_index(path: str, output: str, name: str) -> None:
    """Saves one line for each image of the tar at `path`, and a last one for what was skipped in it."""
    here = Skipped()
    with files.atomic_write(output, name) as index:
        for member in _members(path, here):
            line = [member.name, member.offset, member.size, member.fault]
            index.write(json.dumps(line).encode() + b"\n")
        index.write(json.dumps({"files": here.files, "folders": here.folders}).encode() + b"\n")


def _members(path: str, skipped: Skipped) -> Iterator[Member]:
    with _explain_tar_errors(path), files.open_binary(path) as archive:
        yield from members(archive, path, skipped)


@contextlib.contextmanager
def _explain_tar_errors(path: str) -> Iterator[None]:
    """Turns what is wrong with the tar at `path` into a sentence."""
    try:
        yield
    except TarError as e:
        raise SourceError(str(e)) from None
    except OSError as e:
        raise SourceError(f"cannot read {path}: {e.strerror or e}") from None


def _read_index(saved: str, size: int, skipped: Skipped) -> Iterator[Member]:
    whole = False
    with files.open_binary(saved) as lines:
        for line in lines:
            place = None if whole else _parse_index_line(line, size)
            if isinstance(place, Member):
                yield place
            elif place is not None:
                skipped.add(place)
                whole = True
            else:
                whole = False
                break
    if not whole:
        raise SourceError(f"{saved} is damaged: remove it, and run the same command again")


def _parse_index_line(line: bytes, most: int) -> Member | Skipped | None:
    """A line of an index of a tar of `most` bytes; None for what is none, or points out of the tar."""
    try:
        saved = json.loads(line)
        if isinstance(saved, dict):
            counts = msgspec.convert(saved, _SavedCounts)
            return Skipped(Counter(counts.files), Counter(counts.folders))
        member = Member(*msgspec.convert(saved, tuple[str, int, int, str]))
    except (ValueError, RecursionError, msgspec.MsgspecError):
        return None
    inside = 0 <= member.offset <= member.offset + member.size <= most
    return member if inside and ".." not in member.name.split("/") else None


class _SavedCounts(msgspec.Struct, forbid_unknown_fields=True):
    """The last line of an index."""

    files: dict[str, int]
    folders: dict[str, int]


def _nothing_found(each: _Input, skipped: Skipped) -> str:
    passed = f"; {skipped}" if str(skipped) else ""
    if each.rest and passed:
        return f"no image matches {each.pattern}{passed}"
    if passed or not (each.rest or each.is_file or files.is_remote(each.path)):
        looked = ", ".join((*IMAGE_SUFFIXES[:3], TAR_SUFFIX))
        return (
            f"no image in the folder {each.pattern}: looked for {looked} and the like in it and all folders "
            f"below{passed}"
        )
    return (
        f"--input {each.pattern} matches nothing: give a folder, a file, a tar or a quoted glob such as "
        "'photos/*/*.JPEG'"
    )
