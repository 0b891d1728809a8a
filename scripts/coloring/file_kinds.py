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
# What people have beside pictures, and what to do with it; the first that matches counts.
_OTHERS: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), sentence)
    for pattern, sentence in (
        (rb"8BP[SB]", f"it is a Photoshop document: {_AS_PNG}"),
        (rb".{4}ftyp(?:avif|avis)", "it is an AVIF, and the Pillow installed here has no decoder for it: "
                                    "save it as a PNG, or run: pip install --upgrade pillow"),
        (rb".{4}ftyp(?:hei[cfsmx]|hev[cmsx]|mif1|msf1)", "it is a HEIC photo: save it as a JPEG or a PNG"),
        (rb".{4}ftyp", "it is a film: save one frame of it as a PNG"),
        (rb"\xff\x0a|\0\0\0\x0cJXL ", "it is a JPEG XL picture: save it as a PNG"),
        (rb"\0\0\0\x0cjP|\xff\x4f\xff\x51", "it is a JPEG 2000 picture: save it as a PNG"),
        (rb"%PDF", "it is a PDF: export the page as a PNG of about 2,000 pixels"),
        (rb"%!PS|\xc5\xd0\xd3\xc6", "it is a PostScript file: export it as a PNG of about 2,000 pixels"),
        (rb"gimp xcf", f"it is a GIMP picture (XCF): {_AS_PNG}"),
        (rb"PK\x03\x04.{26}mimetype(?:image/openraster|application/x-krita)",
         f"it is a picture with layers of Krita, or OpenRaster: {_AS_PNG}"),
        (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!|BZh|\xfd7zXZ",
         "it is an archive: unpack it, and give the pictures in it"),
        (rb"\0\0[\1\2]\0", "it is an icon file: save it as a PNG"),
        (rb"version https://git-lfs", "it is a Git LFS pointer in place of the picture: run git lfs pull"),
        (rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml.*?|<!--.*?)?(?:<!doctype svg.*?)?<svg[\s>:]",
         "it is an SVG, a drawing without pixels: export it as a PNG of about 2,000 pixels"),
        (rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html)",
         "it is a web page: save the picture itself"),
    )
)  # fmt: skip


def is_picture(head: bytes, formats: tuple[str, ...]) -> bool:
    """Whether a file that begins with `head` is a picture of one of Pillow's `formats`."""
    return bool(_READABLE.match(head)) or ("AVIF" in formats and bool(_AVIF.match(head)))


def what_else(data: bytes, formats: tuple[str, ...]) -> str:
    """The sentence for a file that is no picture of `formats`: what it is, and what to do."""
    head = data[:HEAD]
    for pattern, sentence in _OTHERS:
        if pattern.match(head):
            return sentence
    return f"it is no picture that can be read: save it as one of {', '.join(formats)}"
