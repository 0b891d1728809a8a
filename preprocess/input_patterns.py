"""Parses the arguments of --input: folders, files and globs, local or remote, typed in any way."""

from __future__ import annotations

import dataclasses
import glob
import os
import posixpath
import re
from pathlib import Path
from stat import S_ISDIR

from preprocess.file_types import Kind, kind_by_name
from preprocess.storage import files
from preprocess.storage.base import glob_prefix

# Names of hidden files and folders usually begin with one of these. A part of a glob that begins with one
# matches hidden names too.
HIDDEN_PREFIXES = (".", "@", "#", "$", "_")


@dataclasses.dataclass(frozen=True)
class InputPattern:
    """One argument of --input.

    Attributes:
      text: the argument as it was typed, for messages.
      path: the path, absolute or remote, without `.`, `..` and doubled slashes.
      root: the folder that keys are relative to. Without a glob, all of it is searched, unless `is_file`.
      is_file: `path` is a file.
      glob: the part of the path below `root`, from the first wildcard on; empty without one.
    """

    text: str
    path: str
    root: str
    is_file: bool = False
    glob: str = ""


def parse_pattern(text: str) -> InputPattern:
    """Parses an argument of --input. A local path need not exist.

    Raises:
      PermissionError: a local path cannot be examined.
    """
    return _parse_remote(text) if files.is_remote(text) else _parse_local(text)


def _parse_remote(text: str) -> InputPattern:
    scheme, _, rest = text.partition("://")
    path = f"{scheme}://{posixpath.normpath(rest)}" if rest else text
    if glob.has_magic(path):
        root = glob_prefix(path).rpartition("/")[0]
        return InputPattern(text, path, root, glob=path.removeprefix(f"{root}/"))
    if kind_by_name(path) in (Kind.IMAGE, Kind.TAR):
        return InputPattern(text, path, path.rpartition("/")[0], is_file=True)
    return InputPattern(text, path, path)


def _parse_local(text: str) -> InputPattern:
    path = _normalize(text)
    mode = _file_mode(path)
    if mode is None:
        root, rest = _split_glob(text)
        return InputPattern(text, path, root, glob=rest)
    if S_ISDIR(mode):
        return InputPattern(text, path, path)
    return InputPattern(text, path, posixpath.dirname(path), is_file=True)


def _normalize(path: str) -> str:
    """Returns an absolute path without `.`, `..` and doubled slashes.

    `..` removes the folder before it from the text. Behind a symbolic link, where this would lead to another
    file than the operating system's rules do, those rules apply.
    """
    normalized = re.sub("^//+", "/", posixpath.normpath(posixpath.join(_working_folder(path), path)))
    if ".." not in path.split("/"):
        return normalized
    try:
        return normalized if Path(path).samefile(normalized) else os.path.realpath(path)
    except OSError:
        return normalized


def _working_folder(path: str) -> str:
    """Returns the folder that `path` is relative to: $PWD, in which the shell keeps symbolic links."""
    if path.startswith("/"):
        return "/"
    shell_folder = os.environ.get("PWD", "")
    try:
        if shell_folder.startswith("/") and Path(shell_folder).samefile("."):
            return shell_folder
    except OSError:
        pass  # $PWD does not exist, or belongs to another process
    return str(Path.cwd())


def _file_mode(path: str) -> int | None:
    """Returns `st_mode` of the file at `path`, of the link itself if it is broken; None if there is none."""
    for stat in (os.stat, os.lstat):
        try:
            return stat(path).st_mode
        except PermissionError:
            raise
        except (OSError, ValueError):  # it does not exist, or the name is too long or contains a null byte
            continue
    return None


def _split_glob(pattern: str) -> tuple[str, str]:
    """Returns the folder before the first wildcard, and the rest of the pattern.

    Wildcard characters in the name of an existing folder are part of the name.
    """
    parts = pattern.split("/")
    first = 0
    while first < len(parts) - 1 and (
        not glob.has_magic(parts[first]) or os.path.lexists("/".join(parts[: first + 1]))
    ):
        first += 1
    root = _normalize("/".join(parts[:first]) + "/" if first else ".")
    rest = posixpath.normpath("/".join(parts[first:])).split("/")
    rest = [part for part, before in zip(rest, ["", *rest], strict=False) if part != "**" or before != "**"]
    while rest[0] == "..":
        root, rest = posixpath.dirname(root), rest[1:]
    while len(rest) > 1 and not glob.has_magic(rest[0]):
        root, rest = posixpath.join(root, rest[0]), rest[1:]
    return root, "/".join(rest)
