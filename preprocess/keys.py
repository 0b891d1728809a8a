"""Makes the stable key of each image, `class/name.JPEG`, from its path and the input that it was found by."""

from __future__ import annotations

import posixpath

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
