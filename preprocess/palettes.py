"""Learns palettes from images, and reads palette files of other programs."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np

from preprocess.image_reader import read_images
from preprocess.oklab import to_oklab, to_rgb
from preprocess.pixels import to_pixels
from preprocess.recipe import Recipe
from preprocess.rejects import Rejected
from preprocess.sources import Image
from preprocess.text_files import read_text
from tfrecords_schema import Palette, SchemaError, user_path

SAMPLE_IMAGES = 1000  # a palette is learnt from this number of images at most
MAX_COLORS = 65_536
_SAMPLE_SIZE = (32, 32)  # pixels; the images of the sample are shrunk to this size
_ATTEMPTS = 3  # runs of k-means, of which the best is used
_MAX_ITERATIONS = 60


class PaletteError(ValueError):
    """A --palette that cannot be used. The message says what was found and what was expected."""


def learn_from_pixels(pixels: np.ndarray, num_colors: int, seed: int) -> Palette:
    """Learns a palette by k-means++ in OKLab. Its colours are ordered from dark to light.

    Args:
      pixels: RGB, uint8 [N, 3].
      num_colors: K.
      seed: any integer; the same pixels and seed give the same palette.

    Raises:
      PaletteError: the pixels have fewer than K different colours.
    """
    lab = to_oklab(pixels).astype(np.float32)
    if len(np.unique(pixels, axis=0)) < num_colors:
        raise PaletteError(
            f"the images have fewer than {num_colors} colours to learn a palette of {num_colors} from"
        )
    # cv2.kmeans uses OpenCV's global generator, whose seed has 32 bits; 0 would select another generator.
    cv2.setRNGSeed(seed % (2**31 - 1) + 1)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, _MAX_ITERATIONS, 1e-5)
    _, _, centers = cv2.kmeans(lab, num_colors, None, stop, _ATTEMPTS, cv2.KMEANS_PP_CENTERS)
    ordered = centers[np.lexsort(centers.T[::-1])]
    colors = dict.fromkeys((r, g, b) for r, g, b in to_rgb(ordered).tolist())  # rounding may merge two
    return Palette(f"kmeans:{num_colors}", tuple(colors))


def learn_from_images(images: Iterable[Image], recipe: Recipe, num_colors: int, seed: int) -> Palette:
    """Learns a palette from the pixels of images, resized and stretched by the recipe.

    Images that the recipe rejects are skipped.

    Raises:
      PaletteError: the images have fewer than `num_colors` different colours.
    """
    samples = []
    for _, data in read_images(images, recipe.max_pixels):
        with contextlib.suppress(Rejected):
            if not isinstance(data, Rejected):
                rgb = to_pixels(data.image, recipe, data.drawing)
                pixels = cv2.resize(rgb, _SAMPLE_SIZE, interpolation=cv2.INTER_AREA)
                samples.append(pixels.reshape(-1, 3))
    return learn_from_pixels(np.concatenate([np.zeros((0, 3), np.uint8), *samples]), num_colors, seed)


def load_learnt_palette(data: bytes, path: str) -> Palette:
    """Decodes the JSON of a palette that an earlier run learnt and saved at `path`.

    Raises:
      PaletteError: the JSON is damaged.
    """
    try:
        return msgspec.json.decode(data, type=Palette)
    except (msgspec.MsgspecError, ValueError, RecursionError) as e:
        raise PaletteError(
            f"{path}, the palette learnt before, is damaged ({e}): remove it, and run the same command again"
        ) from None


def load(path: str) -> Palette:
    """Reads a palette file: .json (a list of [r, g, b] or "#rrggbb"), .gpl (GIMP) or .hex (one per line).

    Raises:
      PaletteError: the file cannot be read, or has none of these formats.
    """
    readers = {".json": _from_json, ".gpl": _from_gpl, ".hex": _from_hex}
    read = readers.get(Path(path).suffix.lower())
    if read is None:
        raise PaletteError(
            f"--palette {path}: expected linewash, grid, kmeans:K, or a file .json, .gpl or .hex"
        )
    try:
        file = Path(user_path(path))
        colors = list(islice(read(read_text(file)), MAX_COLORS + 1))
        if len(colors) > MAX_COLORS:
            raise ValueError(f"expected {MAX_COLORS} colours at most, got more")
        # Palette files may list a colour several times, under different names. It gets a single label.
        return Palette(_printable(file.name), tuple(dict.fromkeys(colors)))
    except OSError as e:
        raise PaletteError(f"--palette {path} cannot be read: {e.strerror}") from None
    except (SchemaError, ValueError, RecursionError) as e:  # the last from deeply nested lists
        raise PaletteError(f"--palette {path} is not a palette: {e}") from None


def _printable(name: str) -> str:
    """Returns a file name for the manifest, with bytes escaped that are not UTF-8."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _from_json(text: str) -> Iterator[tuple[int, int, int]]:
    colors = json.loads(text)
    if not isinstance(colors, list):
        raise ValueError("expected a list of colours")
    numbers = [value for color in colors if isinstance(color, list) for value in color]
    if any(numbers) and all(isinstance(value, (int, float)) and 0 <= value <= 1 for value in numbers):
        raise ValueError(
            f"all its numbers are from 0 to 1, as in {_short(colors[-1])}; expected whole numbers from 0 to "
            "255: multiply them by 255 and round them"
        )
    return (_hex(c) if isinstance(c, str) else _triple(c) for c in colors)


def _from_gpl(text: str) -> Iterator[tuple[int, int, int]]:
    first, *lines = text.split("\n")
    if first.strip() != "GIMP Palette":
        raise ValueError('the first line is not "GIMP Palette"')
    for number, line in enumerate(lines, 2):
        # Comments, and the properties of the palette: Name, Columns, Channels.
        if not line.strip() or re.match(r"\s*(#|[A-Za-z]+\s*:)", line):
            continue
        values = line.split()[:3]
        if len(values) < 3 or not all(re.fullmatch("[0-9]{1,9}", value) for value in values):
            raise ValueError(f"line {number}, {_short(line)}, does not begin with three whole numbers")
        yield _triple([int(value) for value in values])


def _from_hex(text: str) -> Iterator[tuple[int, int, int]]:
    return (_hex(line) for line in text.split())


def _hex(text: str) -> tuple[int, int, int]:
    if not re.fullmatch(r"#?[0-9a-fA-F]{6}", text.strip()):
        raise ValueError(f"{_short(text)} is not a colour like #ff8800")
    red, green, blue = bytes.fromhex(text.strip().removeprefix("#"))
    return red, green, blue


def _triple(values: Any) -> tuple[int, int, int]:
    """Checks and converts a colour from JSON, where integers may be written as floats."""
    if isinstance(values, list) and len(values) == 3 and all(_is_level(value) for value in values):
        red, green, blue = map(int, values)
        return red, green, blue
    raise ValueError(f"{_short(values)} is not a colour: expected three whole numbers from 0 to 255")


def _is_level(value: Any) -> bool:
    # In Python, True and False are instances of int.
    return type(value) in (int, float) and 0 <= value <= 255 and value == int(value)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
