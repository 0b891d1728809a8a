"""Draws SVGs with resvg, in a process of its own that cannot open any file.

An SVG is a program: it may name files of this machine, nest deeper than any stack, or ask for terabytes. So
the operating system limits the memory of the process, and its time for each SVG. It is started once, because
that takes longer than drawing. When it ends, the SVG is rejected and the next one gets a new process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import struct
import subprocess
import sys
import threading
import time
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from preprocess.rejects import Rejected

MAX_BYTES = 32 << 20  # of an SVG, also after it is unpacked
# Of a request: operation ("picture", or the fit of a pair), side of the picture or of the drawing, and of the
# colours, seconds of CPU time, and bytes that follow. Of an answer: whether the process ends after it, and
# the bytes of the error, of the picture or drawing, and of the colours that follow.
REQUEST = struct.Struct("!8sIIdQ")
ANSWER = struct.Struct("!?QQQ")


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one SVG may cost.

    Attributes:
      seconds: of CPU time.
      wait: seconds until a process that does not use its CPU time is ended.
      memory: bytes of address space.
    """

    seconds: float = 5
    wait: float = 60
    memory: int = 1 << 31


def is_available() -> bool:
    """Returns True if resvg is installed."""
    return find_spec("resvg_py") is not None


def draw_picture(data: bytes, side: int, limits: Limits = Limits()) -> bytes:
    """Draws an SVG or SVGZ as a PNG with transparency whose longer side has `side` pixels.

    Text and pictures in other files are left out.

    Raises:
      Rejected: with reason `corrupt`, `truncated`, `too_large` or `too_complex`.
    """
    return _renderer(os.getpid(), limits).draw("picture", data, side, 0)[0]


def draw_pair(
    data: bytes,
    fit: str,
    drawing_side: int,
    color_side: int,
    limits: Limits = Limits(),
) -> tuple[bytes, bytes]:
    """Draws the outlines of an SVG or SVGZ and its colours; see `svg_drawing` for what an outline is.

    Args:
      data: the bytes of the file.
      fit: how the picture becomes square, `squash` or `crop`.
      drawing_side: side of the drawing in pixels.
      color_side: side of the coloured picture in pixels.

    Returns:
      Two PNGs with transparency, both square: the drawing and the colours.

    Raises:
      Rejected: as for `draw_picture`, and with reason `no_size`.
    """
    return _renderer(os.getpid(), limits).draw(fit, data, drawing_side, color_side)


class _Renderer:
    """A process that draws SVGs one after the other. Threads take turns."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def draw(self, operation: str, data: bytes, side: int, color_side: int) -> tuple[bytes, bytes]:
        """Sends one request. Returns the picture or drawing, and the colours."""
        if len(data) > MAX_BYTES:
            raise Rejected("too_large", f"an SVG of {len(data):,} bytes, over {MAX_BYTES:,}")
        header = REQUEST.pack(operation.encode(), side, color_side, self._limits.seconds, len(data))
        with self._lock:
            process = self._process = self._process or self._start()
            try:
                is_last, error, *pictures = self._exchange(process, header + data)
            except OSError:
                self._stop()
                raise Rejected("too_complex", "the SVG takes too much time or memory to be drawn") from None
            except BaseException:  # a half-read answer would be taken for the next one
                self._stop()
                raise
            if is_last:
                self._stop()
        if error:
            reason, _, detail = error.decode().partition(": ")
            raise Rejected(reason, detail)
        return pictures[0], pictures[1]

    def _start(self) -> subprocess.Popen[bytes]:
        if not is_available():
            raise ModuleNotFoundError("No module named 'resvg_py'", name="resvg_py")
        # -P: a file in the working directory cannot take the place of a package.
        program = str(Path(__file__).with_name("svg_process.py"))
        command = [sys.executable, "-P", program, str(self._limits.memory)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, bufsize=0)

    def _stop(self) -> None:
        if process := self._process:
            self._process = None
            process.kill()
            with contextlib.suppress(OSError):
                process.communicate()

    def _exchange(self, process: subprocess.Popen[bytes], request: bytes) -> tuple[bool, bytes, bytes, bytes]:
        """Sends a request and returns the answer.

        Raises:
          OSError: the process ended, or it does not answer.
        """
        deadline = time.monotonic() + self._limits.wait
        assert process.stdin is not None
        assert process.stdout is not None
        view = memoryview(request)
        while view:  # unbuffered pipes may take a part
            view = view[process.stdin.write(view) :]
        is_last, *sizes = ANSWER.unpack(_read(process.stdout.fileno(), ANSWER.size, deadline))
        error, first, second = (_read(process.stdout.fileno(), size, deadline) for size in sizes)
        return is_last, error, first, second


def _read(descriptor: int, size: int, deadline: float) -> bytes:
    parts = []
    while size:
        if not select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise TimeoutError
        part = os.read(descriptor, min(size, 1 << 20))
        if not part:
            raise BrokenPipeError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


@lru_cache
def _renderer(pid: int, limits: Limits) -> _Renderer:
    """Returns the renderer of a process. (A forked process must not share that of its parent.)"""
    return _Renderer(limits)
