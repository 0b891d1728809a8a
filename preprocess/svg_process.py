"""The program of the process in which SVGs are drawn, started and limited by `svg`.

It reads requests from stdin and answers each on stdout. See `svg.REQUEST` and `svg.ANSWER` for the headers.
"""

from __future__ import annotations

import codecs
import os
import re
import resource
import signal
import sys
import zlib
from pathlib import Path
from typing import BinaryIO

import resvg_py

# The same linewash as the parent's, also if it is not installed. (Python was started without this folder.)
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from preprocess.svg import ANSWER, MAX_BYTES, REQUEST
from preprocess.svg_drawing import SvgError, separate

# Encodings that an SVG may declare. Python reads each from a file when it is first used.
ENCODINGS = (
    "ascii",
    "utf-8-sig",
    "utf-16",
    "latin-1",
    "iso8859-2",
    "iso8859-15",
    "cp1250",
    "cp1251",
    "cp1252",
)
MAX_RESIDENT = 384 << 20  # bytes of memory, above which the process ends after an answer


def main(max_memory: int) -> None:
    """Answers requests until stdin ends."""
    memory = _open_memory_file()
    _limit_resources(max_memory)
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while header := requests.read(REQUEST.size):
        operation, side, color_side, seconds, size = REQUEST.unpack(header)
        data = requests.read(size)
        # SIGPROF ends a process that does not handle it, also within native code.
        signal.setitimer(signal.ITIMER_PROF, seconds)
        is_broken = _answer(answers, operation.rstrip(b"\0").decode(), data, side, color_side, memory)
        signal.setitimer(signal.ITIMER_PROF, 0)
        if is_broken:
            return


def _limit_resources(max_memory: int) -> None:
    for encoding in ENCODINGS:
        codecs.lookup(encoding)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # No file and no socket can be opened any more, so nothing outside the SVG is read.
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    if sys.platform == "linux":  # macOS has no such limit
        resource.setrlimit(resource.RLIMIT_AS, (max_memory, max_memory))


def _answer(
    answers: BinaryIO, operation: str, data: bytes, side: int, color_side: int, memory: int | None
) -> bool:
    """Answers a request. Returns True if this process is no longer fit for the next one."""
    is_broken, pictures, error = False, [b"", b""], b""
    try:
        if operation == "picture":
            pictures[0] = _draw(_decode_text(_unpack(data)), side)
        else:
            drawing, colors = separate(_unpack(data), operation)
            pictures = [_draw(drawing, side), _draw(colors, color_side)]
    except SvgError as e:
        error = str(e).encode("utf-8", "replace")
    except BaseException as e:  # a panic in Rust is no Exception
        is_broken, error = True, f"too_complex: {type(e).__name__}".encode()
    is_broken |= _resident_bytes(memory) > MAX_RESIDENT
    answers.write(ANSWER.pack(is_broken, len(error), *map(len, pictures)) + error + b"".join(pictures))
    answers.flush()
    return is_broken


def _draw(svg: str, side: int) -> bytes:
    """Returns a PNG with transparency whose longer side has `side` pixels."""
    try:
        return resvg_py.svg_to_bytes(svg_string=svg, width=side, height=side, dpi=96, skip_system_fonts=True)
    except ValueError as e:
        text = " ".join(str(e).split()).removeprefix("SVG data parsing failed cause ")
        is_too_large = re.search("pixmap|limit", text)
        raise SvgError("too_complex" if is_too_large else "corrupt", text) from None


def _unpack(data: bytes) -> bytes:
    """Unpacks an SVGZ; returns an SVG as it is."""
    if not data.startswith(b"\x1f\x8b"):
        return data
    stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        unpacked = stream.decompress(data, MAX_BYTES)
    except zlib.error as e:
        raise SvgError("corrupt", f"the SVGZ is damaged: {e}") from None
    if stream.unconsumed_tail:
        raise SvgError("too_large", f"over {MAX_BYTES >> 20} MB when it is unpacked")
    if not stream.eof:
        raise SvgError("truncated", "the SVGZ has no end")
    return unpacked


def _decode_text(svg: bytes) -> str:
    try:
        return svg.decode("utf-8-sig")
    except UnicodeDecodeError:
        return svg.decode("latin-1")


def _open_memory_file() -> int | None:
    """Opens the file in which Linux shows the memory of this process. Later no file can be opened."""
    return os.open("/proc/self/statm", os.O_RDONLY) if sys.platform == "linux" else None


def _resident_bytes(memory: int | None) -> int:
    """Returns the memory of this process in bytes; without `memory`, the largest that it has needed.

    On Linux the peak is no measure: a process begins with the peak of the one that started it.
    """
    if memory is not None:
        return int(os.pread(memory, 100, 0).split()[1]) * resource.getpagesize()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


if __name__ == "__main__":
    main(int(sys.argv[1]))
    os._exit(0)  # without freeing memory piece by piece
