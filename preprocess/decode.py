"""Bytes of an image file in, RGB pixels out, whatever the bytes turn out to be; or why not."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import cv2
import numpy as np
import simplejpeg

JPEG_MAGIC = b"\xff\xd8\xff"
# Of a progressive JPEG; encoders write about ten. Each takes a walk over the whole picture, empty or not.
MOST_SCANS = 100
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"

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


class Rejected(Exception):  # noqa: N818 -- an outcome, not a fault of the program
    """An image that is left out: `reason` is one word for the ledger, `detail` a few for the reader."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def decode(data: bytes, min_side: int, max_pixels: int, reduced: bool) -> np.ndarray:
    """Decodes JPEG or PNG bytes, told apart by their first bytes, to upright RGB.

    Args:
      data: the file's bytes.
      min_side: smallest width and height accepted, px; a reduced decode does not go below it.
      max_pixels: largest width × height accepted; looked up in the header, so that nothing large is decoded.
      reduced: JPEGs may be decoded at a reduced DCT scale.

    Returns:
      uint8 [H, W, 3], EXIF orientation applied.

    Raises:
      Rejected: reason `empty`, `format`, `corrupt`, `truncated`, `too_small` or `too_large`.
    """
    if not data:
        raise Rejected("empty", "0 bytes")
    if data.startswith(JPEG_MAGIC):
        return _decode_jpeg(data, min_side, max_pixels, reduced)
    if data.startswith(PNG_MAGIC):
        _check_size(*_png_size(data), min_side, max_pixels)
        _check_chunks(data)
        return _decode_any(data)
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


def _check_chunks(data: bytes) -> None:
    """OpenCV makes room for a chunk as long as it says it is, up to 4 GB, before it looks for its end."""
    at = len(PNG_MAGIC)
    while at + 4 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if length > len(data):
            raise Rejected("corrupt", f"a chunk of {length:,} bytes in a file of {len(data):,}")
        at += length + 12  # its length, its name, and its checksum


def _decode_jpeg(data: bytes, min_side: int, max_pixels: int, reduced: bool) -> np.ndarray:
    height, width, channels = jpeg_shape(data)
    _check_size(height, width, min_side, max_pixels)
    if data.count(b"\xff\xda") > MOST_SCANS:
        raise Rejected("corrupt", f"over {MOST_SCANS} scans")
    side = min_side if reduced else 0
    try:
        if channels == 4:
            image = _without_black(simplejpeg.decode_jpeg(data, "CMYK", min_height=side, min_width=side))
        else:
            image = simplejpeg.decode_jpeg(data, "RGB", min_height=side, min_width=side)
    except ValueError as e:
        return _decode_unusual_jpeg(data, str(e))
    return _upright(image, exif_orientation(data))


def _without_black(cmyk: np.ndarray) -> np.ndarray:
    """CMYK, uint8 [H, W, 4], to RGB; inks stand inverted, as Adobe's programs write them."""
    return cv2.multiply(cmyk[..., :3], cmyk[..., 3:].repeat(3, axis=2), scale=1 / 255)


def _decode_unusual_jpeg(data: bytes, fault: str) -> np.ndarray:
    """A second try for what libjpeg-turbo's simple interface warns of or does not know."""
    if "Premature end" in fault or b"\xff\xd9" not in data[-4096:]:
        raise Rejected("truncated", fault)
    if "Corrupt JPEG data" in fault and "extraneous bytes" not in fault:
        raise Rejected("corrupt", fault)
    return _decode_any(data)  # stray bytes between segments, which all read over; odd subsampling


def _decode_any(data: bytes) -> np.ndarray:
    """OpenCV's decoder: slower, but knows 16 bits, palettes and oddities; applies EXIF orientation itself."""
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as e:
        raise Rejected("corrupt", e.err) from None
    if image is None:
        raise Rejected("corrupt", "OpenCV cannot decode it")
    return image


def jpeg_shape(data: bytes) -> tuple[int, int, int]:
    """(height, width, channels) from a JPEG's frame header (ITU-T T.81, B.2.2); decodes nothing.

    Raises:
      Rejected: `corrupt`, when no frame header is found.
    """
    for marker, start, end in _segments(data):
        # SOF0…SOF15 but for DHT (C4), JPG (C8) and DAC (CC), which share the range.
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and end - start >= 6:
            height, width, channels = struct.unpack(">HHB", data[start + 1 : start + 6])
            return height, width, channels
    raise Rejected("corrupt", "JPEG without a frame header")


def exif_orientation(data: bytes) -> int:
    """The EXIF orientation of a JPEG, 1 (upright) to 8; 1 where there is none or it makes no sense."""
    for marker, start, end in _segments(data):
        if marker == 0xE1 and data[start : start + 6] == b"Exif\0\0":
            return _tiff_orientation(data[start + 6 : end])
    return 1


def _tiff_orientation(tiff: bytes) -> int:
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 10:
        return 1
    (ifd,) = struct.unpack(order + "I", tiff[4:8])
    entries = tiff[ifd + 2 :]
    count = struct.unpack(order + "H", tiff[ifd : ifd + 2])[0] if ifd + 2 <= len(tiff) else 0
    for i in range(min(count, len(entries) // 12)):
        tag, kind, _, value = struct.unpack(order + "HHIH", entries[12 * i : 12 * i + 10])
        if tag == 0x0112 and kind == 3:
            return value if 1 <= value <= 8 else 1
    return 1


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yields (marker, start, end) of each segment's payload up to the scan (ITU-T T.81, B.1.1.4)."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            at += 1  # stray bytes before a marker
            continue
        marker = data[at + 1]
        if marker in (0xFF, 0x00, 0x01) or 0xD0 <= marker <= 0xD7:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in (0xDA, 0xD9):
            return
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        yield marker, at + 4, min(end, len(data))
        at = max(end, at + 4)


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    if orientation not in _UPRIGHT:
        return image
    turns, mirror = _UPRIGHT[orientation]
    image = np.rot90(image, turns)
    return np.ascontiguousarray(image[:, ::-1] if mirror else image)
