"""Bytes of an image file in, RGB pixels out, whatever the bytes turn out to be; or why not."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

import cv2
import numpy as np
import simplejpeg

JPEG_MAGIC = b"\xff\xd8\xff"
# Of a progressive JPEG; encoders write about ten. Each takes a walk over the whole picture, empty or not.
MOST_SCANS = 100
# Between a JPEG's beginning and its end; a large colour profile has about ten, a scan three or four.
MOST_SEGMENTS = 10_000
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"

# Markers of JPEG (ITU-T T.81, table B.1): start and end of image, start of scan, application data 1.
_SOI, _EOI, _SOS, _APP1 = 0xD8, 0xD9, 0xDA, 0xE1
# A marker that begins a segment or ends the picture. The others stand alone, and the data of a scan may hold
# them: stuffed zeros (FF 00), TEM (FF 01), restarts (FF D0 to FF D7), fill bytes (FF FF).
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]", re.DOTALL)
# What may follow a scan: tables, the next scan, application data, comments, the end.
_AFTER_SCAN = {0xC4, 0xCC, _EOI, _SOS, 0xDB, 0xDC, 0xDD, *range(0xE0, 0xF0), 0xFE}

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
        return _upright(_on_white(image), _tiff_orientation(chunks.get(b"eXIf", b"")))
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
    if data.count(b"\xff\xda") > MOST_SCANS:
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
    if scans > MOST_SCANS:
        raise Rejected("corrupt", f"over {MOST_SCANS} scans")
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
        if marker == _SOS:  # EXIF data stand before it
            break
        if marker == _APP1 and data[start : start + 6] == b"Exif\0\0":
            return _tiff_orientation(data[start + 6 : end])
    return 1


def scans_and_end(data: bytes) -> tuple[int, int]:
    """The number of a JPEG's scans, and how many bytes it has; 0 bytes if it breaks off before its end.

    Whatever follows the end marker is passed over: a film, more pictures, an archive. Markers in embedded
    thumbnails do not count, for their segment is skipped whole.

    Raises:
      Rejected: `corrupt`, where there are over `MOST_SEGMENTS`.
    """
    scans = 0
    for marker, start, _ in _segments(data):
        if marker == _EOI:
            return scans, start
        if marker == _SOI or (scans and marker not in _AFTER_SCAN):
            break
        scans += marker == _SOS
    return scans, 0


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
    """Yields (marker, start, end) of each segment's payload, the last of the end marker (T.81, B.1.1.4).

    The data of a scan, stray bytes and markers that stand alone are passed over.

    Raises:
      Rejected: `corrupt`, where there are over `MOST_SEGMENTS`.
    """
    at = 2
    for _ in range(MOST_SEGMENTS):
        found = _MARKER.search(data, at)
        if found is None:
            return
        marker, start = data[found.start() + 1], found.end()
        if marker in (_SOI, _EOI):
            yield marker, start, start
            if marker == _EOI:
                return
            at = start
            continue
        length = int.from_bytes(data[start : start + 2], "big")
        at = max(start + length, start + 2)
        yield marker, start + 2, min(at, len(data))
    raise Rejected("corrupt", f"over {MOST_SEGMENTS:,} segments")


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    if orientation not in _UPRIGHT:
        return image
    turns, mirror = _UPRIGHT[orientation]
    image = np.rot90(image, turns)
    return np.ascontiguousarray(image[:, ::-1] if mirror else image)
