"""Finds the files of a remote folder or glob, without hidden files, system files and the dataset itself."""

from __future__ import annotations

import fnmatch
import glob
from collections.abc import Iterator

from preprocess.file_types import Skipped
from preprocess.input_patterns import HIDDEN_PREFIXES, InputPattern
from preprocess.keys import relative_path
from preprocess.storage import files
from preprocess.storage.base import Stored, compile_glob, glob_prefix


def remote_files(pattern: InputPattern, output: str, skipped: Skipped) -> Iterator[Stored]:
    """Yields the files of one remote `pattern`. To a store, a folder is a prefix of paths.

    Hidden files and folders that are skipped are counted in `skipped`. The directory `output` of the dataset
    is not searched, unless the pattern lies in it.

    Raises:
      StorageError: the store cannot be listed.
    """
    dataset = files.join(output, "")
    skip_dataset = not files.join(pattern.root, "").startswith(dataset)
    prefix = glob_prefix(pattern.path) if pattern.glob else f"{pattern.path}/"
    # A folder that matches a glob stands for all files below it.
    globs = [compile_glob(text) for text in (pattern.path, f"{pattern.path}/**")] if pattern.glob else []
    named_parts = _named_parts(pattern.glob)
    for stored in files.list_remote(f"{prefix}**"):
        # Some programs create an empty object for a folder, whose name ends in a slash.
        if stored.path.endswith("/") or (skip_dataset and stored.path.startswith(dataset)):
            continue
        if globs and not any(regex.match(stored.path) for regex in globs):
            continue
        name = _mask(relative_path(stored.path, pattern.root), named_parts)
        if not skipped.add_hidden(name, pattern.root):
            yield stored


def _named_parts(pattern_glob: str) -> list[str]:
    """Returns the parts of a glob that name files or folders which are taken even if they are hidden."""
    parts = pattern_glob.split("/") if pattern_glob else []
    return [part for part in parts if part.startswith(HIDDEN_PREFIXES) or not glob.has_magic(part)]


def _mask(path: str, named_parts: list[str]) -> str:
    """Replaces parts of `path` that match `named_parts` by `-`, so that they are not skipped as hidden."""
    if not named_parts:
        return path
    return "/".join(
        "-" if any(fnmatch.fnmatchcase(part, name) for name in named_parts) else part
        for part in path.split("/")
    )
