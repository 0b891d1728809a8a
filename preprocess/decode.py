"""Bytes of an image file in, RGB pixels out, whatever the bytes turn out to be; or why not."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import cv2
import numpy as np
import simplejpeg

from preprocess.file_types import JPEG_MAGIC, PNG_MAGIC
from preprocess.jpeg_segments import (
    MAX_SCANS,
    exif_orientation,
    jpeg_shape,
    scans_and_end,
    tiff_orientation,
)
from preprocess.rejects import Rejected

# Colour types of PNG (third edition, 11.2.1).
_GREY, _WITH_ALPHA = 0, (4, 6)

# How to turn the stored picture upright: quarter turns counter-clockwise, then whether to mirror left-right
# (Exif 2.32, tag 0x0112).
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
    """Decodes JPEG or PNG bytes, told apart by their first bytes, to upright RGB.

    Args:
      data: the file's bytes.
      min_side: smallest width and height accepted, px; a reduced decode does not go below it.
      max_pixels: largest width × height accepted; looked up in the header, so that nothing large is decoded.
      reduced: JPEGs may be decoded at a reduced DCT scale.

    Returns:
      uint8 [H, W, 3], EXIF orientation applied, transparency laid on white.

    Raises:
      Rejected: reason `empty`, `format`, `corrupt`, `truncated`, `too_small` or `too_large`.
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
    if data[12:16] != b"IHDR" or len(data) < 24:
        raise Rejected("corrupt", "PNG without a header")
    width, height = struct.unpack(">II", data[16:24])
    return height, width


def _decode_png(data: bytes) -> np.ndarray:
    wanted = (b"tRNS", b"eXIf")
    chunks = {name: data[start:end] for name, start, end in _chunks(data) if name in wanted}
    color_type = data[25]
    # OpenCV would drop the alpha and keep the colours that it hides.
    if color_type in _WITH_ALPHA or b"tRNS" in chunks:
        image = _decode_any(data, cv2.IMREAD_UNCHANGED)  # not turned upright
        if color_type == _GREY:
            image = _with_alpha(image, data[24], chunks[b"tRNS"])
        return _upright(_on_white(image), tiff_orientation(chunks.get(b"eXIf", b"")))
    return _decode_any(data)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yields (name, start, end) of the data of each chunk of a PNG up to its end (PNG, third edition, 5.3).

    Raises:
      Rejected: `corrupt`, where a chunk says that it is longer than the file. OpenCV makes room for as much
        as a chunk says, up to 4 GB, before it looks for the chunk's end.
    """
    at = len(PNG_MAGIC)
    while at + 8 <= len(data):
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if length > len(data):
            raise Rejected("corrupt", f"a chunk of {length:,} bytes in a file of {len(data):,}")
        yield name, at + 8, at + 8 + length
        if name == b"IEND":  # what follows is no part of the picture
            return
        at += length + 12  # its length, its name, and its checksum


def _with_alpha(grey: np.ndarray, bits: int, transparent: bytes) -> np.ndarray:
    """Adds the alpha of a grey PNG in which one value is transparent, which OpenCV passes over.

    Args:
      grey: uint8 or uint16 [H, W]; OpenCV has spread values of 1, 2 and 4 bits over 0..255.
      bits: a value has in the file.
      transparent: the value, as the chunk tRNS says it.

    Returns:
      [H, W, 4] of the same dtype, BGRA.
    """
    most = np.iinfo(grey.dtype).max
    value = int.from_bytes(transparent[:2], "big") * most // (2**bits - 1)
    return cv2.merge([grey, grey, grey, np.where(grey == value, 0, most).astype(grey.dtype)])


def _on_white(image: np.ndarray) -> np.ndarray:
    """Lays an image as OpenCV decodes it, BGRA or without alpha, on white: RGB, uint8 [H, W, 3]."""
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)  # so OpenCV makes 8 bits of the 16 of an opaque image
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    if image.shape[2] == 3:
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    alpha = cv2.extractChannel(image, 3)
    darkness = ~cv2.cvtColor(image, cv2.COLOR_BGRA2RGB)  # what each colour takes from white
    return ~cv2.multiply(darkness, cv2.merge([alpha] * 3), scale=1 / 255)


def _decode_jpeg(data: bytes, min_side: int, max_pixels: int, reduced: bool) -> np.ndarray:
    height, width, channels = jpeg_shape(data)
    _check_size(height, width, min_side, max_pixels)
    # The quick count takes in what only looks like a scan, as in a film after the picture's end.
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
    scans, end = scans_and_end(data)
    if scans > MAX_SCANS:
        raise Rejected("corrupt", f"over {MAX_SCANS} scans")
    if not end:
        raise Rejected("truncated", "JPEG without an end marker")


def _without_black(cmyk: np.ndarray) -> np.ndarray:
    """CMYK, uint8 [H, W, 4], to RGB; inks stand inverted, as Adobe's programs write them."""
    return cv2.multiply(cmyk[..., :3], cmyk[..., 3:].repeat(3, axis=2), scale=1 / 255)


def _decode_unusual_jpeg(data: bytes, fault: str) -> np.ndarray:
    """A second try for what libjpeg-turbo's simple interface warns of or does not know."""
    if "Premature end" in fault or not scans_and_end(data)[1]:
        raise Rejected("truncated", fault)
    if "Corrupt JPEG data" in fault and "extraneous bytes" not in fault:
        raise Rejected("corrupt", fault)
    return _decode_any(data)  # stray bytes between segments, which all read over; odd subsampling


def _decode_any(data: bytes, flags: int = cv2.IMREAD_COLOR_RGB) -> np.ndarray:
    """OpenCV's decoder: slower, but knows 16 bits, palettes and oddities; applies EXIF orientation itself."""
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
