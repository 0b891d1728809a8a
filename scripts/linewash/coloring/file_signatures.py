"""Recognizes file formats by their first bytes: readable images, and what to do with other files."""

from __future__ import annotations

import re

from preprocess.file_types import is_svg

SIGNATURE_BYTES = 4096  # bytes of a file that are examined

# The first bytes of each format that image_io.py reads.
_READABLE = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|RIFF.{4}WEBP|GIF8[79]a|BM.{4}\0{4}|II\*\0|MM\0\*|II\+\0|MM\0\+",
    re.DOTALL,
)
_AVIF = re.compile(rb".{4}ftyp(?:avif|avis)", re.DOTALL)

_AS_PNG = "export it as a PNG"
_AS_LARGE_PNG = "export it as a PNG of about 2,000 pixels"
# Files that users mistake for images, and what to do with each. The first pattern that matches counts.
_OTHER_FILES: tuple[tuple[re.Pattern[bytes], str, str], ...] = tuple(
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), description, advice)
    for pattern, description, advice in (
        (rb"8BP[SB]", "a Photoshop document", _AS_PNG),
        (_AVIF.pattern, "an AVIF image, and the installed Pillow has no decoder for it", _AS_PNG),
        (rb".{4}ftyp(?:hei[cfsmx]|hev[cmsx]|mif1|msf1)", "a HEIC image", "save it as a JPEG or a PNG"),
        (rb".{4}ftyp", "a video", "save one frame of it as a PNG"),
        (rb"\xff\x0a|\0\0\0\x0cJXL ", "a JPEG XL image", "save it as a PNG"),
        (rb"\0\0\0\x0cjP|\xff\x4f\xff\x51", "a JPEG 2000 image", "save it as a PNG"),
        (rb"%PDF", "a PDF", _AS_LARGE_PNG),
        (rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript file", _AS_LARGE_PNG),
        (rb"gimp xcf", "a GIMP document (XCF)", _AS_PNG),
        (rb"PK\x03\x04.{26}mimetype(?:image/openraster|application/x-krita)", "a Krita or OpenRaster file",
         _AS_PNG),
        (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!|BZh|\xfd7zXZ", "an archive", "unpack it"),
        (rb"\0\0[\1\2]\0", "an icon file", "save it as a PNG"),
        (rb"version https://git-lfs", "a Git LFS pointer", "run git lfs pull"),
        (rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html)", "a web page", "save the image itself"),
    )
)  # fmt: skip


def is_image(head: bytes, formats: tuple[str, ...]) -> bool:
    """Returns whether a file that begins with `head` is an SVG or an image of one of Pillow's `formats`."""
    return bool(_READABLE.match(head)) or ("AVIF" in formats and bool(_AVIF.match(head))) or is_svg(head)


def explain_unreadable(data: bytes, formats: tuple[str, ...]) -> str:
    """Returns the message for a file that is not an image of `formats`: what it is and what to do."""
    for pattern, description, advice in _OTHER_FILES:
        if pattern.match(data[:SIGNATURE_BYTES]):
            return f"not a readable image, but {description}: {advice}"
    return f"not a readable image: save it as one of {', '.join(formats)} or SVG"
