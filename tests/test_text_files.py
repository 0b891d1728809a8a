"""Text files of common encodings and line ends are read alike."""

import codecs
import os
import threading

import pytest

from preprocess.text_files import MAX_BYTES, read_text

TEXT = "n01 Tench\nn02 Café “noir”\n"


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.encode("utf-16"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-32"),
        TEXT.encode("cp1252"),
        TEXT.replace("\n", "\r\n").encode("utf-8-sig"),
        TEXT.replace("\n", "\r\n").encode("utf-16"),
        TEXT.replace("\n", "\r").encode("cp1252"),
    ],
)
def test_common_encodings_and_line_ends_give_the_same_text(tmp_path, data):
    (tmp_path / "list.txt").write_bytes(data)
    assert read_text(tmp_path / "list.txt") == TEXT


def test_a_pipe_is_read_like_a_file():
    reading, writing = os.pipe()
    threading.Thread(target=lambda: (os.write(writing, TEXT.encode()), os.close(writing))).start()
    assert read_text(f"/dev/fd/{reading}") == TEXT
    os.close(reading)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not a text file"),
        (TEXT.encode("utf-16-le"), "not a text file"),  # without a byte order mark
        (TEXT.encode("utf-16")[:-1], "UTF-16 but is damaged"),
        (codecs.BOM_UTF8 + b"\xff", "UTF-8 but is damaged"),
        (b" " * (MAX_BYTES + 1), "larger than 16,777,216 bytes"),
    ],
)
def test_other_files_are_refused_with_a_reason(tmp_path, data, message):
    (tmp_path / "list.txt").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_text(tmp_path / "list.txt")


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "nothere.txt")
