"""Reads the small text files that people hand to a command: palettes, lists of classes."""

from __future__ import annotations

import codecs
import os

MAX_BYTES = 1 << 24  # bytes; 65,536 colours or a million names take less

# The longest first: the mark of UTF-16 is the beginning of that of UTF-32.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)


def read_text(path: str | os.PathLike[str]) -> str:
    """Returns the text of a local file, whatever program wrote it; lines end in a line feed.

    UTF-16 and UTF-32 are recognised by their byte order mark, as Windows writes it; the mark is not part of
    the text. What has no mark and is not UTF-8 is read as Windows-1252, which older programs write.

    Raises:
      OSError: the file cannot be read.
      ValueError: it is over `MAX_BYTES` bytes or not text; the message says which, but not the path.
    """
    with open(path, "rb") as file:  # noqa: PTH123 -- path may be any that the system opens, a pipe too
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES:,} bytes")
    text = _decode(data).replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        raise ValueError("it is not a text file: save it as plain text in UTF-8")
    return text


def _decode(data: bytes) -> str:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return data.decode(encoding)
            except UnicodeDecodeError:
                raise ValueError(
                    f"it begins as {encoding.removesuffix('-sig').upper()} but is damaged: save it as UTF-8"
                ) from None
    for encoding in ("utf-8", "cp1252"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")  # as Windows-1252, but every byte is a character
