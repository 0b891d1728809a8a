"""Images or an artist's file in, the palette out."""

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
from preprocess.recipe import Recipe
from preprocess.rejects import Rejected
from preprocess.sources import Image
from preprocess.text_files import read_text
from preprocess.transform import to_pixels
from tfrecords_schema import Palette, SchemaError, user_path

SAMPLE_IMAGES = 1000  # that a palette is learnt from
MAX_COLORS = 65_536
_SMALL = (32, 32)  # px, to which each of them is shrunk for it
_TRIES = 3  # starts of k-means, of which the best is kept
_ROUNDS = 60


class PaletteError(ValueError):
    """A --palette that cannot be used; the message says what was found and what was expected."""


def learn(pixels: np.ndarray, colors: int, seed: int) -> Palette:
    """The palette of `colors` colours nearest to `pixels`: k-means++ in OKLab, dark to light.

    Args:
      pixels: uint8 [N, 3], RGB; at least as many different colours as the palette is to have.
      colors: K.
      seed: any whole number; the same pixels and seed give the same palette.

    Raises:
      PaletteError: too few different colours to learn from.
    """
    lab = to_oklab(pixels).astype(np.float32)
    if len(np.unique(pixels, axis=0)) < colors:
        raise PaletteError(f"the images have fewer than {colors} colours to learn a palette of {colors} from")
    # cv2 takes no seed as an argument, and holds one in 32 bits; 0 would mean another generator.
    cv2.setRNGSeed(seed % (2**31 - 1) + 1)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, _ROUNDS, 1e-5)
    _, _, centres = cv2.kmeans(lab, colors, None, stop, _TRIES, cv2.KMEANS_PP_CENTERS)
    ordered = centres[np.lexsort(centres.T[::-1])]
    found = dict.fromkeys((r, g, b) for r, g, b in to_rgb(ordered).tolist())  # rounding may merge two
    return Palette(f"kmeans:{colors}", tuple(found))


def learn_from(images: Iterable[Image], recipe: Recipe, colors: int, seed: int) -> Palette:
    """The palette learnt from a sample of images, as the recipe's pixels; unusable images are passed over.

    Raises:
      PaletteError: too few different colours to learn from.
    """
    small = []
    for _, data in read_images(images, recipe.max_pixels):
        with contextlib.suppress(Rejected):
            if not isinstance(data, Rejected):
                pixels = cv2.resize(to_pixels(data, recipe), _SMALL, interpolation=cv2.INTER_AREA)
                small.append(pixels.reshape(-1, 3))
    return learn(np.concatenate([np.zeros((0, 3), np.uint8), *small]), colors, seed)


def load_learnt_palette(data: bytes, saved: str) -> Palette:
    """The palette that was learnt before and kept as JSON at `saved`.

    Raises:
      PaletteError: it is damaged.
    """
    try:
        return msgspec.json.decode(data, type=Palette)
    except (msgspec.MsgspecError, ValueError, RecursionError) as e:
        raise PaletteError(
            f"{saved}, the palette learnt before, is damaged ({e}): remove it, and run the same command again"
        ) from None


def load(path: str) -> Palette:
    """Reads an artist's palette: .json (a list of [r, g, b] or "#rrggbb"), .gpl (GIMP) or .hex (one a line).

    Raises:
      PaletteError: the file cannot be read, or is none of these.
    """
    readers = {".json": _from_json, ".gpl": _from_gpl, ".hex": _from_hex}
    read = readers.get(Path(path).suffix.lower())
    if read is None:
        raise PaletteError(f"--palette {path}: expected grid, kmeans:K, or a file .json, .gpl or .hex")
    try:
        file = Path(user_path(path))
        colors = list(islice(read(read_text(file)), MAX_COLORS + 1))
        if len(colors) > MAX_COLORS:
            raise ValueError(f"expected {MAX_COLORS} colours at most, got more")
        # Artists' palettes may hold a colour under two names. A label stands for the first of them.
        return Palette(_printable(file.name), tuple(dict.fromkeys(colors)))
    except OSError as e:
        raise PaletteError(f"--palette {path} cannot be read: {e.strerror}") from None
    except (SchemaError, ValueError, RecursionError) as e:  # the last: a list a thousand deep
        raise PaletteError(f"--palette {path} is not a palette: {e}") from None


def _printable(name: str) -> str:
    """The file's name as the manifest may hold it: bytes that are not UTF-8 are escaped."""
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
        # Comments, and what is said of the whole palette: Name, Columns, Channels.
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
    """A colour as JSON has it; whole numbers may be written with a point."""
    if isinstance(values, list) and len(values) == 3 and all(_is_level(value) for value in values):
        red, green, blue = map(int, values)
        return red, green, blue
    raise ValueError(f"{_short(values)} is not a colour: expected three whole numbers from 0 to 255")


def _is_level(value: Any) -> bool:
    # True and False are whole numbers to Python.
    return type(value) in (int, float) and 0 <= value <= 255 and value == int(value)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
