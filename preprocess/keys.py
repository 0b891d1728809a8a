"""Makes the stable key of each image, `class/name.JPEG`, from its path and the input that it was found by."""

from __future__ import annotations

import fnmatch
import glob
import posixpath
import re
from functools import lru_cache

from preprocess.storage import files


def image_key(path: str, root: str) -> str:
    """Returns the key of the image at `path`: its path below the folder `root` of the input.

    An image in `root` itself gets the name of `root` as its folder, so that every key has a folder.
    """
    relative = relative_path(path, root)
    folder = "" if "/" in relative else root.rstrip("/").rpartition("/")[2]
    # A folder name that is not UTF-8 is no reason to reject the images in the folder.
    return f"{to_utf8(folder)}/{relative}" if folder else relative


def relative_path(path: str, root: str) -> str:
    """Returns `path` relative to the folder `root`; remote paths are normalized."""
    relative = path.removeprefix(root.rstrip("/") + "/")
    return posixpath.normpath(relative).lstrip("/") if files.is_remote(path) else relative


def pair_name(relative: str, pattern_glob: str) -> str:
    """Returns what the paths of a drawing and of its colouring have in common: their *stem*.

    It is the path below the pattern's folder without the extension. Folders that a glob names, and the text
    beside the wildcards in a glob for file names, do not count. So `*/line` and `*/gt` give the same stem to
    `cat/line/1.png` and `cat/gt/1.jpg`, and `*_line.png` and `*_color.png` to `1_line.png` and `1_color.png`.

    Args:
      relative: the path of an image below the folder of its pattern.
      pattern_glob: the pattern below that folder; empty if it is a folder or a file.
    """
    parts = relative.split("/")
    matched = _match_parts(parts, pattern_glob.split("/")) if pattern_glob else None
    return "/".join([*parts[:-1], _stem(parts[-1])] if matched is None else matched)


def _match_parts(parts: list[str], globs: list[str]) -> list[str] | None:
    """Returns what the wildcards of `globs` match in the parts of a path; None if they do not match."""
    if not parts:
        return [] if not globs or globs == ["**"] else None
    if not globs:  # below a folder that matches
        return [*parts[:-1], _stem(parts[-1])]
    first, rest = globs[0], globs[1:]
    if first == "**":
        depths = range(len(parts) + 1) if rest else range(1)
        matches = ((depth, _match_parts(parts[depth:], rest)) for depth in depths)
        return next((parts[:depth] + match for depth, match in matches if match is not None), None)
    matched = _match_name(parts[0], first, is_file=len(parts) == 1)
    below = _match_parts(parts[1:], rest) if matched is not None else None
    return None if matched is None or below is None else [*filter(None, [matched]), *below]


def _match_name(name: str, name_glob: str, is_file: bool) -> str | None:
    """Returns what a part of a glob leaves of a name; "" if it is the name. None: it does not match."""
    if name == name_glob:
        return ""
    if not (glob.has_magic(name_glob) and fnmatch.fnmatchcase(name, name_glob)):
        return None
    if not is_file:
        return name
    if "." in name_glob and "." in name:
        name_glob = _stem(name_glob)
    name = _stem(name)
    match = _wildcards(name_glob).fullmatch(name)
    return "".join(match.groups()) if match else name


@lru_cache
def _wildcards(name_glob: str) -> re.Pattern[str]:
    """Returns a regular expression with a group for each wildcard of one part of a glob."""
    pieces = re.split(r"(\*+|\?|\[!?\]?[^\]]*\])", name_glob)
    # fnmatch translates a wildcard to a whole expression, with its end: `(?s:...)\Z`.
    translated = (f"({fnmatch.translate(p)[4:-3]})" if i % 2 else re.escape(p) for i, p in enumerate(pieces))
    return re.compile("".join(translated), re.DOTALL)


def _stem(name: str) -> str:
    """Returns the name of a file without its extension."""
    return name.rpartition(".")[0] or name


def to_utf8(name: str) -> str:
    """Returns a file name with every byte that is not UTF-8 escaped. (Python holds these as surrogates.)"""
    return name.encode("utf-8", "backslashreplace").decode()


def to_single_line(key: str, fault: str) -> tuple[str, str]:
    """Returns a key as one line of UTF-8, and the fault of its image: `fault`, or that of the name."""
    text = to_utf8(key)
    if text != key:
        fault = "name: the file name is not UTF-8: rename the file"
    escaped = text.replace("\n", "\\n").replace("\r", "\\r").replace("\0", "\\0")
    if escaped != text:
        fault = "name: the file name holds the end of a line: rename the file"
    return escaped, fault


def input_names(roots: set[str]) -> dict[str, str]:
    """Returns a distinct name for each folder: the last parts of its path, as few as possible."""
    parts = {root: [part for part in to_utf8(root).split("/") if part] for root in roots}
    for count in range(1, max(map(len, parts.values()), default=0) + 1):
        names = {root: "/".join(root_parts[-count:]) for root, root_parts in parts.items()}
        if len(set(names.values())) == len(names):
            return names
    return {root: "/".join(root_parts) for root, root_parts in parts.items()}
