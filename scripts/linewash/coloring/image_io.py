"""Decodes image files and SVGs to upright RGB or RGBA pixels, or explains in one sentence why it cannot."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError, features

from linewash.coloring.file_signatures import explain_unreadable, is_svg
from linewash.coloring.svg_reader import render_svg
from linewash.coloring.transparency import flatten
from preprocess.jpeg_segments import MAX_SCANS, count_scans_and_length
from preprocess.rejects import Rejected
from training.errors import WorkError

# Pillow's formats; it reads AVIF only if it was built with a decoder. SVGs are rendered by `svg_reader`.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", *(("AVIF",) if features.check("avif") else ()))
# The same limit as in preprocess (preprocess/recipe.py): the largest images of phones are below it.
MAX_PIXELS = 1 << 26
MAX_BYTES = 9 * MAX_PIXELS  # of a file: this many pixels at 16 bits per channel without any compression
MIN_SIDE = 16
# Our own limit is stricter and is reported in a sentence.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def read_file(path: Path) -> bytes:
    """Reads an image file.

    Raises:
      WorkError: it cannot be read, or it is larger than any image that `read_image` accepts.
    """
    try:
        # A device or a pipe has no size, so that reading stops at the limit as well.
        if path.stat().st_size <= MAX_BYTES:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
            if len(data) <= MAX_BYTES:
                return data
    except OSError as e:
        raise WorkError(f"the file could not be read: {e.strerror or e}") from None
    raise WorkError(
        f"the file is over {MAX_BYTES >> 20} MB, more than an image of {MAX_PIXELS:,} pixels: make it smaller"
    )


def read_image(data: bytes, max_pixels: int = MAX_PIXELS, background: int | None = None) -> np.ndarray:
    """Decodes an image file, applies its EXIF orientation and puts transparency on a background.

    Args:
      max_pixels: a larger image is an error.
      background: 255 for white, 0 for black, or None for the one on which the drawing is visible
        (`background.choose_background`).

    Returns:
      uint8 [H, W, 3].

    Raises:
      WorkError: not an image of a readable format, damaged, too large or too small. The size is taken from
        the header, before any pixels are decoded.
    """
    pixels = _decode(data, max_pixels)
    return flatten(pixels, background) if pixels.shape[2] == 4 else pixels


def read_pixels(data: bytes, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decodes an image file of any size, upright: uint8 [H, W, 4], or [H, W, 3] if it has no transparency.

    Raises:
      WorkError: not an image of a readable format, damaged, or larger than `max_pixels`.
    """
    return _decode(data, max_pixels, min_side=1)


def read_hints(data: bytes, max_pixels: int = MAX_PIXELS, name: str = "hints") -> np.ndarray:
    """Decodes an image of strokes on transparency: uint8 [H, W, 4], upright.

    Args:
      name: what the strokes are, for messages.

    Raises:
      WorkError: as for `read_image`, or the image has no transparency.
    """
    pixels = _decode(data, max_pixels)
    if pixels.shape[2] != 4:
        raise WorkError(
            f"the {name} have no transparency, so strokes cannot be told from the background: save them as "
            "a PNG with a transparent background"
        )
    return pixels


def _has_too_many_scans(data: bytes) -> bool:
    """Returns whether a JPEG has over `MAX_SCANS` scans: decoding each one processes the whole image.

    Bytes that follow the image, such as the video of a motion photo, are not counted.
    """
    if data.count(b"\xff\xda") <= MAX_SCANS:  # quick, and never too small
        return False
    try:
        return count_scans_and_length(data)[0] > MAX_SCANS
    except Rejected:
        return True


def _open(data: bytes, max_pixels: int, min_side: int) -> Image.Image:
    """Reads the header and rejects images that should not be decoded."""
    if not data:
        raise WorkError("the file is empty")
    if data.startswith(b"\xff\xd8") and _has_too_many_scans(data):
        raise WorkError(f"the image is a JPEG of over {MAX_SCANS} scans: save it again")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise WorkError(explain_unreadable(data, FORMATS)) from None
    except Image.DecompressionBombError:
        raise WorkError(f"the image has over {max_pixels:,} pixels: make it smaller") from None
    except Exception as e:  # Pillow raises many types of errors for damaged headers
        raise WorkError(f"the image is damaged ({e}): save it again") from None
    width, height = image.size
    if width * height > max_pixels:
        raise WorkError(f"the image is {width} x {height}, over {max_pixels:,} pixels: make it smaller")
    if min(width, height) < min_side:
        raise WorkError(
            f"the image is {width} x {height}, but a drawing needs at least {min_side} pixels a side"
        )
    return image


def _decode(data: bytes, max_pixels: int, min_side: int = MIN_SIDE) -> np.ndarray:
    """Decodes an image upright: uint8 [H, W, 4], or [H, W, 3] if it has no transparency."""
    if is_svg(data):
        data = render_svg(data, max_pixels)
    image = _to_upright(_open(data, max_pixels, min_side))
    if not _has_alpha(image):
        return np.array(_with_mode(_to_eight_bits(image), "RGB"))
    return np.array(_with_mode(image, "RGBA"))


def _to_upright(image: Image.Image) -> Image.Image:
    try:
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return image
    except Exception as e:  # as in `_open`
        raise WorkError(f"the image is damaged ({e}): save it again") from None


def _with_mode(image: Image.Image, mode: str) -> Image.Image:
    """Converts an image; one that has the mode already is not copied."""
    return image if image.mode == mode else image.convert(mode)


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Scales 16-bit greys to 8 bits; Pillow's own conversion would clip them to white."""
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.int64)
    return Image.fromarray(np.clip(values // 257 if values.max() > 255 else values, 0, 255).astype(np.uint8))
