"""Images or an artist's file in, the palette out."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import cv2
import msgspec
import numpy as np

from preprocess.decode import Rejected
from preprocess.oklab import to_oklab, to_rgb
from preprocess.reading import read_all
from preprocess.recipe import Recipe
from preprocess.sources import Image
from preprocess.transform import to_pixels
from tfrecords_schema import Palette, SchemaError

SAMPLE_IMAGES = 1000  # that a palette is learnt from
MOST_COLORS = 65_536
LARGEST_FILE = 1 << 24  # bytes; 65,536 colours take a tenth of it
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
      seed: the same pixels and seed give the same palette.

    Raises:
      PaletteError: too few different colours to learn from.
    """
    lab = to_oklab(pixels).astype(np.float32)
    if len(np.unique(pixels, axis=0)) < colors:
        raise PaletteError(f"the images have fewer than {colors} colours to learn a palette of {colors} from")
    cv2.setRNGSeed(seed + 1)  # cv2 takes no seed as an argument; 0 would mean another generator
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, _ROUNDS, 1e-5)
    _, _, centres = cv2.kmeans(lab, colors, None, stop, _TRIES, cv2.KMEANS_PP_CENTERS)
    ordered = centres[np.lexsort(centres.T[::-1])]
    found = dict.fromkeys(_triple(color) for color in to_rgb(ordered).tolist())  # rounding may merge two
    return Palette(f"kmeans:{colors}", tuple(found))


def learn_from(images: Iterable[Image], recipe: Recipe, colors: int, seed: int) -> Palette:
    """The palette learnt from a sample of images, as the recipe's pixels; unusable images are passed over.

    Raises:
      PaletteError: too few different colours to learn from.
    """
    small = []
    for _, data in read_all(images, recipe.max_pixels):
        with contextlib.suppress(Rejected):
            if not isinstance(data, Rejected):
                pixels = cv2.resize(to_pixels(data, recipe), _SMALL, interpolation=cv2.INTER_AREA)
                small.append(pixels.reshape(-1, 3))
    return learn(np.concatenate([np.zeros((0, 3), np.uint8), *small]), colors, seed)


def relearnt(data: bytes, saved: str) -> Palette:
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
    file = Path(path)
    if file.suffix.lower() not in readers:
        raise PaletteError(f"--palette {path}: expected grid, kmeans:K, or a file .json, .gpl or .hex")
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise ValueError(f"it is larger than {LARGEST_FILE:,} bytes")
        colors = list(islice(readers[file.suffix.lower()](file.read_text()), MOST_COLORS + 1))
        if len(colors) > MOST_COLORS:
            raise ValueError(f"expected {MOST_COLORS} colours at most, got more")
        return Palette(file.name, tuple(colors))
    except OSError as e:
        raise PaletteError(f"--palette {path} cannot be read: {e.strerror}") from None
    # The last two: numbers like 1e999, and lists a thousand deep.
    except (SchemaError, ValueError, TypeError, OverflowError, RecursionError) as e:
        raise PaletteError(f"--palette {path} is not a palette: {e}") from None


def _from_json(text: str) -> Iterator[tuple[int, int, int]]:
    colors = json.loads(text)
    if not isinstance(colors, list):
        raise ValueError("expected a list of colours")
    return (_hex(c) if isinstance(c, str) else _triple(c) for c in colors)


def _from_gpl(text: str) -> Iterator[tuple[int, int, int]]:
    lines = text.splitlines()
    if not lines or lines[0].strip() != "GIMP Palette":
        raise ValueError('the first line is not "GIMP Palette"')
    return (_triple(line.split()[:3]) for line in lines[1:] if re.match(r"\s*\d", line))


def _from_hex(text: str) -> Iterator[tuple[int, int, int]]:
    return (_hex(line) for line in text.split())


def _hex(text: str) -> tuple[int, int, int]:
    if not re.fullmatch(r"#?[0-9a-fA-F]{6}", text.strip()):
        raise ValueError(f"{text[:80]!r} is not a colour like #ff8800")
    red, green, blue = bytes.fromhex(text.strip().removeprefix("#"))
    return red, green, blue


def _triple(values: Sequence[int | str]) -> tuple[int, int, int]:
    red, green, blue = (int(v) for v in values)
    return red, green, blue
