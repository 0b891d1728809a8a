"""Finds the files of a local folder or glob, without hidden files, system files and the dataset itself."""

from __future__ import annotations

import fnmatch
import glob
import os
import posixpath
from collections.abc import Iterator

from preprocess.file_types import Skipped, is_hidden
from preprocess.input_patterns import HIDDEN_PREFIXES, InputPattern
from preprocess.keys import to_utf8
from preprocess.storage import files


class LocalSearch:
    """A search for the files of one local `pattern`.

    Hidden files and folders that are skipped, and folders that may not be read, are counted in `skipped`.
    The directory `output` of the dataset is not searched, unless the pattern lies in it.
    """

    def __init__(self, pattern: InputPattern, output: str, skipped: Skipped) -> None:
        self._pattern = pattern
        self._skipped = skipped
        self._output = "" if files.is_remote(output) else os.path.realpath(output)

    def paths(self) -> Iterator[str]:
        """Yields the path of every file. Links are followed; each folder is searched once.

        Raises:
          OSError: a folder cannot be read, unless it is a subfolder without permission.
        """
        if not self._pattern.glob:
            yield from self._walk(self._pattern.root)
            return
        for path in self._matches(self._pattern.root, self._pattern.glob.split("/")):
            # A folder that matches a glob stands for all files below it.
            yield from self._walk(path) if os.path.isdir(path) else [path]  # noqa: PTH112

    def _walk(self, root: str) -> Iterator[str]:
        for folder, _, names in self._folders(root):
            for name in sorted(names):
                if is_hidden(name):
                    self._skipped.add_file(name, "hidden")
                else:
                    yield f"{folder}/{name}"

    def _folders(self, root: str) -> Iterator[tuple[str, list[str], list[str]]]:
        """Yields each folder from `root` down, with the names of its subfolders and files.

        As with `os.walk`, the caller can remove subfolders from the list to skip them.
        """
        visited = {self._output} - {os.path.realpath(root)}
        for folder, subfolders, names in os.walk(root, onerror=self._skip_unreadable, followlinks=True):
            real_path = os.path.realpath(folder)
            if real_path in visited:
                subfolders.clear()
                continue
            visited.add(real_path)
            folder = folder.rstrip("/")
            subfolders[:] = [name for name in sorted(subfolders) if not self._skip_hidden(folder, name)]
            yield folder, subfolders, names

    def _matches(self, folder: str, parts: list[str]) -> Iterator[str]:
        """Yields the files and folders below `folder` that match the parts of a glob."""
        first, rest = parts[0], parts[1:]
        if first != "**":
            for name in self._matching_names(folder, first):
                path = f"{folder.rstrip('/')}/{name}"
                if not rest:
                    yield path
                elif os.path.isdir(path):  # noqa: PTH112
                    yield from self._matches(path, rest)
        elif not rest:
            yield folder
        else:
            for parent, subfolders, _ in self._folders(folder):
                unmatched = {f"{parent}/{name}" for name in subfolders}
                for path in self._matches(parent, rest):
                    yield path
                    unmatched.discard(path)  # all files below it are taken already
                subfolders[:] = [name for name in subfolders if f"{parent}/{name}" in unmatched]

    def _matching_names(self, folder: str, part: str) -> list[str]:
        """Returns the names in `folder` that match one part of a glob, which may name hidden files."""
        if not glob.has_magic(part) or os.path.lexists(f"{folder}/{part}"):
            return [part] if os.path.lexists(f"{folder}/{part}") else []
        try:
            names = sorted(fnmatch.filter(os.listdir(folder), part))  # noqa: PTH208
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as e:
            self._skip_unreadable(e)
            return []
        if part.startswith(HIDDEN_PREFIXES):
            return names
        return [name for name in names if not self._skip_hidden(folder, name)]

    def _skip_hidden(self, folder: str, name: str) -> bool:
        """Returns True for the dataset and for hidden files and folders, and counts the latter."""
        path = f"{folder}/{name}"
        if not is_hidden(name):
            return name == posixpath.basename(self._output) and os.path.realpath(path) == self._output
        if os.path.isdir(path):  # noqa: PTH112
            self._skipped.add_hidden_folder(path)
        else:
            self._skipped.add_file(name, "hidden")
        return True

    def _skip_unreadable(self, error: OSError) -> None:
        """Counts a folder that may not be read. Raises an error that may be temporary, or of the root folder.

        After a temporary error, the next run would find other images.
        """
        is_root = error.filename.rstrip("/") == self._pattern.root.rstrip("/")
        if not isinstance(error, PermissionError) or is_root:
            raise error
        self._skipped.folders[f"{to_utf8(error.filename)} ({error.strerror})"] += 1
