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
    for stored in files.listing(f"{prefix}**"):
        # Some programs create an empty object for a folder, whose name ends in a slash.
        if stored.path.endswith("/") or (skip_dataset and stored.path.startswith(dataset)):
            continue
        if globs and not any(regex.match(stored.path) for regex in globs):
            continue
        name = _mask_matched_parts(relative_path(stored.path, pattern.root), pattern.glob)
        if not skipped.add_hidden(name, pattern.root):
            yield stored


def _mask_matched_parts(path: str, pattern_glob: str) -> str:
    """Replaces the parts of `path` that the glob names by `-`, so that they are not skipped as hidden."""
    if not pattern_glob:
        return path
    named = [
        part
        for part in pattern_glob.split("/")
        if part.startswith(HIDDEN_PREFIXES) or not glob.has_magic(part)
    ]
    return "/".join(
        "-" if any(fnmatch.fnmatchcase(part, name) for name in named) else part for part in path.split("/")
    )
