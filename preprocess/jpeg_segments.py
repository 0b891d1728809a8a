"""Reads the structure of a JPEG, its segments, scans and end, without decoding a pixel (ITU-T T.81).

Imports neither OpenCV nor simplejpeg, so that colouring can use it too.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from preprocess.rejects import Rejected

# Of a progressive JPEG; encoders write about ten. Each takes a walk over the whole picture, empty or not.
MAX_SCANS = 100
# Between a JPEG's beginning and its end; a large colour profile has about ten, a scan three or four.
MAX_SEGMENTS = 10_000

# Markers of JPEG (ITU-T T.81, table B.1): start and end of image, start of scan, application data 1.
_SOI, _EOI, _SOS, _APP1 = 0xD8, 0xD9, 0xDA, 0xE1
# A marker that begins a segment or ends the picture. The others stand alone, and the data of a scan may hold
# them: stuffed zeros (FF 00), TEM (FF 01), restarts (FF D0 to FF D7), fill bytes (FF FF).
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]", re.DOTALL)
# What may follow a scan: tables, the next scan, application data, comments, the end.
_AFTER_SCAN = {0xC4, 0xCC, _EOI, _SOS, 0xDB, 0xDC, 0xDD, *range(0xE0, 0xF0), 0xFE}


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
            return tiff_orientation(data[start + 6 : end])
    return 1


def scans_and_end(data: bytes) -> tuple[int, int]:
    """The number of a JPEG's scans, and how many bytes it has; 0 bytes if it breaks off before its end.

    Whatever follows the end marker is passed over: a film, more pictures, an archive. Markers in embedded
    thumbnails do not count, for their segment is skipped whole.

    Raises:
      Rejected: `corrupt`, where there are over `MAX_SEGMENTS`.
    """
    scans = 0
    for marker, start, _ in _segments(data):
        if marker == _EOI:
            return scans, start
        if marker == _SOI or (scans and marker not in _AFTER_SCAN):
            break
        scans += marker == _SOS
    return scans, 0


def tiff_orientation(tiff: bytes) -> int:
    """The orientation in EXIF data (a TIFF header and its tags), 1 to 8; 1 where it makes no sense."""
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
      Rejected: `corrupt`, where there are over `MAX_SEGMENTS`.
    """
    at = 2
    for _ in range(MAX_SEGMENTS):
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
    raise Rejected("corrupt", f"over {MAX_SEGMENTS:,} segments")
