"""Decodes JPEG and PNG files of every kind to upright RGB pixels, or rejects them with a reason."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import cv2
import numpy as np
import simplejpeg

from preprocess.file_types import JPEG_MAGIC, PNG_MAGIC
from preprocess.jpeg_segments import (
    MAX_SCANS,
    count_scans_and_length,
    exif_orientation,
    jpeg_shape,
    tiff_orientation,
)
from preprocess.rejects import Rejected

# Colour types of PNG (third edition, 11.2.1).
_GREY, _WITH_ALPHA = 0, (4, 6)

# How to turn an image upright, by its EXIF orientation: the number of counter-clockwise quarter turns, and
# whether to mirror it left-right afterwards (Exif 2.32, tag 0x0112).
_UPRIGHT = {
    2: (0, True),
    3: (2, False),
    4: (2, True),
    5: (3, True),
    6: (3, False),
    7: (1, True),
    8: (1, False),
}


def decode(data: bytes, min_side: int, max_pixels: int, reduced: bool) -> np.ndarray:
    """Decodes a JPEG or PNG file to upright RGB. The first bytes decide the format.

    Args:
      data: the bytes of the file.
      min_side: minimum width and height in pixels; a reduced decode does not go below it.
      max_pixels: maximum width × height, which is read from the header before anything is decoded.
      reduced: JPEGs may be decoded at a reduced DCT scale, which is faster.

    Returns:
      uint8 [H, W, 3] with the EXIF orientation applied and transparency composited on white.

    Raises:
      Rejected: with reason `empty`, `format`, `corrupt`, `truncated`, `too_small` or `too_large`.
    """
    if not data:
        raise Rejected("empty", "0 bytes")
    if data.startswith(JPEG_MAGIC):
        return _decode_jpeg(data, min_side, max_pixels, reduced)
    if data.startswith(PNG_MAGIC):
        _check_size(*_png_size(data), min_side, max_pixels)
        return _decode_png(data)
    raise Rejected("format", f"neither JPEG nor PNG: begins with {data[:8]!r}")


def _check_size(height: int, width: int, min_side: int, max_pixels: int) -> None:
    if min(height, width) < min_side:
        raise Rejected("too_small", f"{width}x{height}, needs {min_side} px a side")
    if height * width > max_pixels:
        raise Rejected("too_large", f"{width}x{height}, over {max_pixels:,} pixels")


def _png_size(data: bytes) -> tuple[int, int]:
    if data[12:16] != b"IHDR" or len(data) < 26:  # `_decode_png` reads the colour type, byte 25
        raise Rejected("corrupt", "PNG without a header")
    width, height = struct.unpack(">II", data[16:24])
    return height, width


def _decode_png(data: bytes) -> np.ndarray:
    chunks = {name: data[start:end] for name, start, end in _chunks(data) if name in (b"tRNS", b"eXIf")}
    color_type = data[25]
    # By default OpenCV drops the alpha channel, so that hidden colours become visible.
    if color_type in _WITH_ALPHA or b"tRNS" in chunks:
        image = _decode_any(data, cv2.IMREAD_UNCHANGED)  # this flag also ignores the EXIF orientation
        if color_type == _GREY:
            image = _with_alpha(image, data[24], chunks[b"tRNS"])
        return _upright(_on_white(image), tiff_orientation(chunks.get(b"eXIf", b"")))
    return _decode_any(data)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yields the name of each chunk of a PNG and the start and end of its data (PNG, third edition, 5.3).

    Raises:
      Rejected: with reason `corrupt`, if a chunk claims to be longer than the file. OpenCV allocates the
        claimed size, up to 4 GB, before it reads the chunk.
    """
    position = len(PNG_MAGIC)
    while position + 8 <= len(data):
        length, name = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        if length > len(data):
            raise Rejected("corrupt", f"a chunk of {length:,} bytes in a file of {len(data):,}")
        yield name, position + 8, position + 8 + length
        if name == b"IEND":  # the bytes after it do not belong to the image
            return
        position += length + 12  # with the length, the name and the checksum


def _with_alpha(grey: np.ndarray, bits: int, transparent: bytes) -> np.ndarray:
    """Adds the alpha channel of a grey PNG with one transparent value, which OpenCV ignores.

    Args:
      grey: uint8 or uint16 [H, W]; OpenCV scales values of 1, 2 and 4 bits to 0..255.
      bits: bits per value in the file.
      transparent: the content of the chunk tRNS, which begins with the transparent value.

    Returns:
      BGRA [H, W, 4] of the same dtype.
    """
    max_value = np.iinfo(grey.dtype).max
    value = int.from_bytes(transparent[:2], "big") * max_value // (2**bits - 1)
    return cv2.merge([grey, grey, grey, np.where(grey == value, 0, max_value).astype(grey.dtype)])


def _on_white(image: np.ndarray) -> np.ndarray:
    """Composites an image from OpenCV (grey, BGR or BGRA) on white.

    Returns:
      RGB, uint8 [H, W, 3].
    """
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)  # OpenCV converts opaque images of 16 bits in the same way
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    if image.shape[2] == 3:
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    alpha = cv2.extractChannel(image, 3)
    darkness = ~cv2.cvtColor(image, cv2.COLOR_BGRA2RGB)  # the difference to white
    return ~cv2.multiply(darkness, cv2.merge([alpha] * 3), scale=1 / 255)


def _decode_jpeg(data: bytes, min_side: int, max_pixels: int, reduced: bool) -> np.ndarray:
    height, width, channels = jpeg_shape(data)
    _check_size(height, width, min_side, max_pixels)
    # The quick count also includes byte pairs that are not scans, for example in a film after the image.
    if data.count(b"\xff\xda") > MAX_SCANS:
        _check_scans(data)
    side = min_side if reduced else 0
    try:
        if channels == 4:
            image = _without_black(simplejpeg.decode_jpeg(data, "CMYK", min_height=side, min_width=side))
        else:
            image = simplejpeg.decode_jpeg(data, "RGB", min_height=side, min_width=side)
    except ValueError as e:
        return _decode_unusual_jpeg(data, str(e))
    return _upright(image, exif_orientation(data))


def _check_scans(data: bytes) -> None:
    scans, length = count_scans_and_length(data)
    if scans > MAX_SCANS:
        raise Rejected("corrupt", f"over {MAX_SCANS} scans")
    if not length:
        raise Rejected("truncated", "JPEG without an end marker")


def _without_black(cmyk: np.ndarray) -> np.ndarray:
    """Converts CMYK, uint8 [H, W, 4], to RGB. The inks are inverted, as in the files of Adobe's programs."""
    return cv2.multiply(cmyk[..., :3], cmyk[..., 3:].repeat(3, axis=2), scale=1 / 255)


def _decode_unusual_jpeg(data: bytes, error_text: str) -> np.ndarray:
    """Decodes a JPEG that simplejpeg does not support or warns about.

    Args:
      data: the bytes of the file.
      error_text: the error or warning of simplejpeg.
    """
    if "Premature end" in error_text or not count_scans_and_length(data)[1]:
        raise Rejected("truncated", error_text)
    if "Corrupt JPEG data" in error_text and "extraneous bytes" not in error_text:
        raise Rejected("corrupt", error_text)
    return _decode_any(data)  # stray bytes between segments are harmless, and OpenCV knows more subsamplings


def _decode_any(data: bytes, flags: int = cv2.IMREAD_COLOR_RGB) -> np.ndarray:
    """Decodes with OpenCV, which is slower but knows 16 bits, palettes and unusual files.

    With the default flags, OpenCV applies the EXIF orientation.
    """
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as e:
        raise Rejected("corrupt", e.err) from None
    if image is None:
        raise Rejected("corrupt", "OpenCV cannot decode it")
    return image


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    if orientation not in _UPRIGHT:
        return image
    turns, mirror = _UPRIGHT[orientation]
    image = np.rot90(image, turns)
    return np.ascontiguousarray(image[:, ::-1] if mirror else image)
