"""Reads small text files of users, such as palettes and lists of classes, in any common encoding."""

from __future__ import annotations

import codecs
import os

MAX_BYTES = 1 << 24  # enough for 65,536 colours or a million names

# UTF-32 comes first, because its byte order mark begins with that of UTF-16.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)


def read_text(path: str | os.PathLike[str]) -> str:
    """Returns the text of a local file. Its lines end in line feeds.

    UTF-16 and UTF-32 are recognised by their byte order mark, which Windows programs write and which is not
    part of the text. A file without a mark that is not valid UTF-8 is read as Windows-1252.

    Raises:
      OSError: the file cannot be read.
      ValueError: the file is larger than `MAX_BYTES` or is not text. The message does not name the path.
    """
    with open(path, "rb") as file:  # noqa: PTH123 -- the path may be that of a pipe
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES:,} bytes")
    text = _decode(data).replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        raise ValueError("it is not a text file: save it as plain text in UTF-8")
    return text


def _decode(data: bytes) -> str:
    for mark, encoding in _BYTE_ORDER_MARKS:
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
    return data.decode("latin-1")  # like Windows-1252, but every byte is valid
