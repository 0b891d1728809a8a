"""Finds the drawings of --input, on local disk or in remote storage, and names the files of each."""

from __future__ import annotations

import dataclasses
import os
import posixpath
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import PurePosixPath

from linewash.coloring.file_signatures import SIGNATURE_BYTES, is_image
from linewash.coloring.image_io import FORMATS
from linewash.coloring.output_paths import EXTENSIONS, distinct_stems
from preprocess.file_types import Kind, Skipped, kind_by_name
from preprocess.input_patterns import InputPattern, parse_pattern
from preprocess.keys import relative_path, to_single_line
from preprocess.sources import Image, Location, SourceError, read_head, search
from preprocess.storage import files
from preprocess.storage.base import CONNECTIONS


@dataclasses.dataclass(frozen=True)
class NamedDrawing:
    """A drawing, and the name of its pictures below the output folder, without an extension."""

    image: Image
    stem: str


def find_drawings(patterns: list[str], output: str, skipped: Skipped) -> list[NamedDrawing]:
    """Finds the drawings of all `patterns`: folders (searched recursively), files and globs.

    The key of a drawing is its path below the folder that was given. As in colorize.py, files named like an
    image and other files whose first bytes are an image's are taken; hidden files and `output` are not.

    Args:
      skipped: counts the files that are skipped.

    Returns:
      The drawings in the order of their keys.

    Raises:
      SourceError: a pattern matches no drawing or cannot be read, or two drawings would be written to one
        file.
    """
    images: list[Image] = []
    for text in patterns:
        pattern = _parse(text)
        count = len(images)
        images += _images(pattern, output, skipped)
        if len(images) == count:
            raise SourceError(_explain_no_drawings(pattern, skipped))
    images.sort(key=lambda image: image.key)
    _check_keys(images)
    stems = distinct_stems([PurePosixPath(image.key) for image in images])
    _check_stems(images, [str(stem) for stem in stems])
    return [NamedDrawing(image, str(stem)) for image, stem in zip(images, stems, strict=True)]


def _parse(text: str) -> InputPattern:
    try:
        pattern = parse_pattern(text)
    except PermissionError as e:
        raise SourceError(f"cannot read {text}: {e.strerror}") from None
    if files.is_remote(text) and not pattern.glob and _has_image_name(pattern.path):
        return dataclasses.replace(pattern, root=posixpath.dirname(pattern.path), is_file=True)
    return pattern


def check_output(patterns: list[str], output: str) -> None:
    """Refuses an output folder in which the next run would find its own pictures.

    Raises:
      SourceError: one of the folders to be searched is `output` or lies in it.
    """
    for text in patterns:
        _check_pattern(_parse(text), output)


def _check_pattern(pattern: InputPattern, output: str) -> None:
    if pattern.is_file or files.is_remote(output) != files.is_remote(pattern.root):
        return
    root, folder = pattern.root, output
    if not files.is_remote(output):
        root, folder = os.path.realpath(root), os.path.realpath(output)
    if files.join(root, "").startswith(files.join(folder, "")):
        raise SourceError(
            f"--output {output} is searched for drawings too, so that the next run would colour its own "
            f"pictures: type another folder, such as {files.join(output, 'colored')}"
        )


def _images(pattern: InputPattern, output: str, skipped: Skipped) -> Iterator[Image]:
    for file in _drawing_files(pattern, output, skipped):
        key, fault = to_single_line(relative_path(file.path, pattern.root), "")
        yield Image(key, file.path, 0, file.size, fault=fault)


def _drawing_files(pattern: InputPattern, output: str, skipped: Skipped) -> Iterator[Location]:
    """Yields each drawing of a pattern, and counts other files in `skipped`."""
    if pattern.is_file:
        yield from _named_file(pattern.path)
        return
    unsure: list[Location] = []
    for file in search(pattern, output, skipped):
        if _has_image_name(file.path):
            yield file
        elif kind_by_name(file.path) is Kind.UNSURE:
            unsure.append(file)
        else:
            skipped.add_file(posixpath.basename(file.path))
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        heads = pool.map(partial(read_head, num_bytes=SIGNATURE_BYTES), unsure)
    for file, head in zip(unsure, heads, strict=True):
        if not isinstance(head, OSError) and is_image(head, FORMATS):
            yield file
        else:
            skipped.add_file(posixpath.basename(file.path))


def _named_file(path: str) -> Iterator[Location]:
    """Yields a file that a pattern names, if it exists. Whatever it is, it was meant."""
    try:
        size = files.size(path)
    except OSError as e:
        raise SourceError(str(e)) from None
    if size >= 0:
        yield Location(path, size=size if files.is_remote(path) else -1)


def _has_image_name(path: str) -> bool:
    return posixpath.splitext(path)[1].lower() in EXTENSIONS


def _check_keys(images: list[Image]) -> None:
    for key, count in Counter(image.key for image in images).items():
        if count > 1:
            paths = [image.path for image in images if image.key == key]
            raise SourceError(
                f"{paths[0]} is given twice"
                if paths[0] == paths[1]
                else f"{paths[0]} and {paths[1]} would be written to one file: colour them in two runs"
            )


def _check_stems(images: list[Image], stems: list[str]) -> None:
    """Refuses names that differ in their case only, because some file systems take them for one."""
    by_stem: dict[str, Image] = {}
    for image, stem in zip(images, stems, strict=True):
        other = by_stem.setdefault(stem.lower(), image)
        if other is not image:
            raise SourceError(
                f"{other.path} and {image.path} would be written to one file: rename one of them"
            )


def _explain_no_drawings(pattern: InputPattern, skipped: Skipped) -> str:
    suffix = f" ({skipped})" if str(skipped) else ""
    kinds = f"give drawings as {', '.join(FORMATS)} or SVG"
    if pattern.glob or pattern.is_file or files.is_remote(pattern.path):
        return f"--input {pattern.text} matches no drawing{suffix}: {kinds}"
    return f"the folder {pattern.text} holds no drawing{suffix}: {kinds}"
