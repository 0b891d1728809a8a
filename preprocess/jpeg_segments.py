"""Reads the structure of a JPEG file (segments, scans and end) without decoding pixels (ITU-T T.81).

This module imports neither OpenCV nor simplejpeg, so that the colouring package can use it as well.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from preprocess.rejects import Rejected

# Of a progressive JPEG; encoders write about ten. A decoder walks over the whole image for each of them.
MAX_SCANS = 100
# A large colour profile takes about ten segments, and a scan three or four.
MAX_SEGMENTS = 10_000

# Markers of JPEG (ITU-T T.81, table B.1): start and end of image, start of scan, application data 1.
_SOI, _EOI, _SOS, _APP1 = 0xD8, 0xD9, 0xDA, 0xE1
# A marker that begins a segment or ends the image. The excluded markers have no segment and can occur within
# the data of a scan: stuffed zeros (FF 00), TEM (FF 01), restarts (FF D0 to FF D7), fill bytes (FF FF).
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]", re.DOTALL)
# The markers that may follow a scan: tables, the next scan, application data, comments, the end.
_AFTER_SCAN = {0xC4, 0xCC, _EOI, _SOS, 0xDB, 0xDC, 0xDD, *range(0xE0, 0xF0), 0xFE}


def jpeg_shape(data: bytes) -> tuple[int, int, int]:
    """Returns (height, width, channels) from the frame header of a JPEG (ITU-T T.81, B.2.2).

    Raises:
      Rejected: with reason `corrupt`, if there is no frame header.
    """
    for marker, start, end in _segments(data):
        # SOF0 to SOF15, except for DHT (C4), JPG (C8) and DAC (CC), which are in the same range.
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and end - start >= 6:
            height, width, channels = struct.unpack(">HHB", data[start + 1 : start + 6])
            return height, width, channels
    raise Rejected("corrupt", "JPEG without a frame header")


def exif_orientation(data: bytes) -> int:
    """Returns the EXIF orientation of a JPEG, 1 to 8; 1 (upright) if it is missing or invalid."""
    for marker, start, end in _segments(data):
        if marker == _SOS:  # EXIF data come before the first scan
            break
        if marker == _APP1 and data[start : start + 6] == b"Exif\0\0":
            return tiff_orientation(data[start + 6 : end])
    return 1


def count_scans_and_length(data: bytes) -> tuple[int, int]:
    """Returns the number of scans of a JPEG and its length in bytes, or 0 bytes if it has no end marker.

    Data after the end marker (a film, more images, an archive) is ignored. Markers of embedded thumbnails are
    not counted, because their segment is skipped as a whole.

    Raises:
      Rejected: with reason `corrupt`, if there are more than `MAX_SEGMENTS` segments.
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
    """Returns the orientation in EXIF data, 1 to 8; 1 (upright) if it is missing or invalid.

    EXIF data are a TIFF header and its tags. They are in an APP1 segment of a JPEG or in the eXIf chunk of
    a PNG.
    """
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
    """Yields (marker, start, end) of the payload of each segment up to the end marker (T.81, B.1.1.4).

    The data of scans, stray bytes and markers without a segment are skipped.

    Raises:
      Rejected: with reason `corrupt`, if there are more than `MAX_SEGMENTS` segments.
    """
    position = 2
    for _ in range(MAX_SEGMENTS):
        match = _MARKER.search(data, position)
        if match is None:
            return
        marker, start = data[match.start() + 1], match.end()
        if marker in (_SOI, _EOI):
            yield marker, start, start
            if marker == _EOI:
                return
            position = start
            continue
        length = int.from_bytes(data[start : start + 2], "big")
        position = max(start + length, start + 2)
        yield marker, start + 2, min(position, len(data))
    raise Rejected("corrupt", f"over {MAX_SEGMENTS:,} segments")
