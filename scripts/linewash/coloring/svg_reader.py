"""Renders SVG files with resvg, in a process of its own.

An SVG is a program: it may name files of this machine, nest deeper than any stack, or ask for terabytes. So
resvg runs in a process that cannot open any file and whose time and memory the operating system limits.
"""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from math import isqrt

from training.cli import install_command
from training.errors import WorkError

SIDE = 2048  # px of the longer side: an SVG has no pixels of its own
MAX_BYTES = 32 << 20  # of the file
MAX_SECONDS = 5  # of CPU time
MAX_WAIT = 60  # s until a process that does not use its CPU time is ended
MAX_MEMORY = 1 << 31  # bytes of address space

# No file can be opened any more once NOFILE is 0, so neither images nor fonts are read from this machine.
_PROGRAM = """\
import resource, sys
import resvg_py

svg = sys.stdin.buffer.read()
try:
    text = svg.decode("utf-8-sig")
except UnicodeDecodeError:
    text = svg.decode("latin-1")
seconds, memory, side = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
try:
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
except (OSError, ValueError):
    pass  # macOS has no such limit
try:
    png = resvg_py.svg_to_bytes(svg_string=text, width=side, height=side, dpi=96, skip_system_fonts=True)
except ValueError as error:
    sys.exit("invalid: " + " ".join(str(error).split()))
sys.stdout.buffer.write(png)
"""
_REASON = re.compile(r"^invalid: (?:SVG data parsing failed cause )?(.*)", re.MULTILINE)


def render_svg(data: bytes, max_pixels: int = SIDE * SIDE) -> bytes:
    """Renders an SVG as a PNG with transparency.

    The longer side has `SIDE` pixels, or fewer if `max_pixels` demands it. References to other files are not
    followed and text is left out, because the fonts are not part of the file.

    Raises:
      WorkError: resvg is not installed, or the SVG is damaged, too large or too complex.
    """
    if find_spec("resvg_py") is None:
        raise WorkError(f"the drawing is an SVG, which resvg-py reads: run {install_command('art')}")
    if len(data) > MAX_BYTES:
        raise WorkError(f"the SVG is over {MAX_BYTES >> 20} MB: export it as a PNG of about {SIDE:,} pixels")
    side = min(SIDE, isqrt(max_pixels))
    # -P: a file in the working directory cannot take the place of a package.
    command = [sys.executable, "-P", "-c", _PROGRAM, str(MAX_SECONDS), str(MAX_MEMORY), str(side)]
    try:
        process = subprocess.run(command, input=data, capture_output=True, timeout=MAX_WAIT, check=False)
    except subprocess.TimeoutExpired:
        process = None
    if process is not None and process.returncode == 0:
        return process.stdout
    reason = process and _REASON.search(process.stderr.decode(errors="replace"))
    if reason and not re.search("pixmap|limit", reason[1]):
        raise WorkError(f"the SVG is damaged ({reason[1]}): save it again")
    raise WorkError(f"the SVG is too complex to be drawn: export it as a PNG of about {SIDE:,} pixels")
