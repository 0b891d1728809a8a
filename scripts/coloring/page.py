"""An image file's bytes in, an upright page of RGB pixels out; or one sentence on why not."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from training.errors import WorkError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
# As many as preprocess takes of a photograph (preprocess/recipe.py): a phone's largest picture passes.
MAX_PIXELS = 1 << 26
MIN_SIDE = 16
MOST_SCANS = 100  # as many as preprocess takes: each is a walk over the whole picture, empty or not
STRIP = 512  # rows that are laid on paper at a time: what is between takes twice the memory
OPAQUE = 128  # alpha from which a pixel counts as drawn
# Ours is the stricter limit, and it gives a sentence.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def read_page(data: bytes, most: int = MAX_PIXELS) -> np.ndarray:
    """Decodes a picture: EXIF orientation applied, transparency laid on white paper.

    What is drawn in light ink on nothing (for dark screens) is laid on black instead: on white it would
    not be seen.

    Args:
      most: pixels that it may have.

    Returns:
      uint8 [H, W, 3].

    Raises:
      WorkError: no picture of a format we read, damaged, too large (by its header: nothing large is
        decoded) or too small.
    """
    pixels = _pixels(data, most)
    return flatten(pixels) if pixels.shape[2] == 4 else pixels


def read_layer(data: bytes, most: int = MAX_PIXELS) -> np.ndarray:
    """Decodes a picture with its transparency: uint8 [H, W, 4], upright, of `most` pixels.

    Raises:
      WorkError: as `read_page`, or it has no transparency.
    """
    pixels = _pixels(data, most)
    if pixels.shape[2] != 4:
        raise WorkError("it has no transparency, so nobody can tell strokes from paper: save it as a PNG "
                        "with a transparent background")  # fmt: skip
    return pixels


def flatten(rgba: np.ndarray) -> np.ndarray:
    """Lays uint8 [H, W, 4] on white, or on black if what is drawn is light: uint8 [H, W, 3]."""
    drawn = rgba[rgba[..., 3] >= OPAQUE, :3]
    light_ink = drawn.size and 0 < len(drawn) < rgba[..., 3].size * 0.9 and drawn.mean() > 160
    paper = 0 if light_ink else 255
    page = np.empty((*rgba.shape[:2], 3), np.uint8)
    for top in range(0, len(rgba), STRIP):
        strip = rgba[top : top + STRIP]
        alpha = strip[..., 3:].astype(np.uint16)
        page[top : top + STRIP] = (strip[..., :3] * alpha + paper * (255 - alpha) + 127) // 255
    return page


def _open(data: bytes, most: int) -> Image.Image:
    """Reads the header alone, and refuses what should not be decoded."""
    if not data:
        raise WorkError("it is empty")
    if data.startswith(b"\xff\xd8") and data.count(b"\xff\xda") > MOST_SCANS:
        raise WorkError(f"it is a JPEG of over {MOST_SCANS} scans: save it again")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise WorkError(
            f"it is no picture that can be read: save it as one of {', '.join(FORMATS)}"
        ) from None
    except Image.DecompressionBombError:
        raise WorkError(f"it has over {most:,} pixels: make it smaller") from None
    except Exception as e:  # Pillow's readers raise whatever they meet in a damaged header
        raise WorkError(f"it is damaged ({e}): save it again") from None
    width, height = image.size
    if width * height > most:
        raise WorkError(f"it is {width} x {height}, over {most:,} pixels: make it smaller")
    if min(width, height) < MIN_SIDE:
        raise WorkError(f"it is {width} x {height}, but a drawing needs {MIN_SIDE} pixels a side at least")
    return image


def _pixels(data: bytes, most: int) -> np.ndarray:
    """The picture upright: uint8 [H, W, 4], or [H, W, 3] if it has no transparency."""
    image = _upright(_open(data, most))
    if not _has_alpha(image):
        return np.array(_eight_bits(image).convert("RGB"))
    return np.array(image if image.mode == "RGBA" else image.convert("RGBA"))


def _upright(image: Image.Image) -> Image.Image:
    try:
        image.load()
        return ImageOps.exif_transpose(image)
    except Exception as e:  # as above
        raise WorkError(f"it is damaged ({e}): save it again") from None


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit greys brought to 8 bits; Pillow's own conversion would clip them to white."""
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.int64)
    return Image.fromarray(np.clip(values // 257 if values.max() > 255 else values, 0, 255).astype(np.uint8))
