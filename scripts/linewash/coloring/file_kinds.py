"""What a file is, told from its first bytes: the pictures that are read, and what to do with the others."""

from __future__ import annotations

import re

HEAD = 4096  # bytes of a file that are looked at

# The formats that coloring/page.py reads, by the bytes that a file of each begins with.
_READABLE = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|RIFF.{4}WEBP|GIF8[79]a|BM.{4}\0{4}|II\*\0|MM\0\*|II\+\0|MM\0\+",
    re.DOTALL,
)
_AVIF = re.compile(rb".{4}ftyp(?:avif|avis)", re.DOTALL)

_AS_PNG = "export it as a PNG"
_PAGE_AS_PNG = "export the page as a PNG of about 2,000 pixels"
# What people have beside pictures, and what to do with it; the first that matches counts.
_OTHERS: tuple[tuple[re.Pattern[bytes], str, str], ...] = tuple(
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), what, advice)
    for pattern, what, advice in (
        (rb"8BP[SB]", "a Photoshop document", _AS_PNG),
        (_AVIF.pattern, "an AVIF, for which Pillow has no decoder here", _AS_PNG),
        (rb".{4}ftyp(?:hei[cfsmx]|hev[cmsx]|mif1|msf1)", "a HEIC photo", "save it as a JPEG or a PNG"),
        (rb".{4}ftyp", "a film", "save one frame of it as a PNG"),
        (rb"\xff\x0a|\0\0\0\x0cJXL ", "a JPEG XL picture", "save it as a PNG"),
        (rb"\0\0\0\x0cjP|\xff\x4f\xff\x51", "a JPEG 2000 picture", "save it as a PNG"),
        (rb"%PDF", "a PDF", _PAGE_AS_PNG),
        (rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript file", _PAGE_AS_PNG),
        (rb"gimp xcf", "a GIMP document (XCF)", _AS_PNG),
        (rb"PK\x03\x04.{26}mimetype(?:image/openraster|application/x-krita)", "a Krita or OpenRaster file",
         _AS_PNG),
        (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!|BZh|\xfd7zXZ", "an archive", "unpack it"),
        (rb"\0\0[\1\2]\0", "an icon file", "save it as a PNG"),
        (rb"version https://git-lfs", "a Git LFS pointer", "run git lfs pull"),
        (rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml.*?|<!--.*?)?(?:<!doctype svg.*?)?<svg[\s>:]",
         "an SVG, which has no pixels", _PAGE_AS_PNG),
        (rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html)", "a web page", "save the picture itself"),
    )
)  # fmt: skip


def is_picture(head: bytes, formats: tuple[str, ...]) -> bool:
    """Whether a file that begins with `head` is a picture of one of Pillow's `formats`."""
    return bool(_READABLE.match(head)) or ("AVIF" in formats and bool(_AVIF.match(head)))


def what_else(data: bytes, formats: tuple[str, ...]) -> str:
    """The sentence for a file that is no picture of `formats`: what it is, and what to do."""
    for pattern, what, advice in _OTHERS:
        if pattern.match(data[:HEAD]):
            return f"it is no picture that can be read, but {what}: {advice}"
    return f"it is no picture that can be read: save it as one of {', '.join(formats)}"
