"""Renders SVG files for colouring, in the process of `preprocess.svg`, which can open no file."""

from __future__ import annotations

from math import isqrt

from preprocess import svg
from preprocess.rejects import Rejected
from training.cli import install_command
from training.errors import WorkError

SIDE = 2048  # px of the longer side: an SVG has no pixels of its own
LIMITS = svg.Limits()


def render_svg(data: bytes, max_pixels: int = SIDE * SIDE) -> bytes:
    """Renders an SVG as a PNG with transparency.

    The longer side has `SIDE` pixels, or fewer if `max_pixels` demands it. References to other files are not
    followed and text is left out, because the fonts are not part of the file.

    Raises:
      WorkError: resvg is not installed, or the SVG is damaged, too large or too complex.
    """
    if not svg.is_available():
        raise WorkError(f"the drawing is an SVG, which resvg-py reads: run {install_command('art')}")
    try:
        return svg.draw_picture(data, min(SIDE, isqrt(max_pixels)), LIMITS)
    except Rejected as e:
        raise WorkError(_explain(e)) from None


def _explain(error: Rejected) -> str:
    if error.reason == "too_large":
        return f"the SVG is over {svg.MAX_BYTES >> 20} MB: export it as a PNG of about {SIDE:,} pixels"
    if error.reason == "too_complex":
        return f"the SVG is too complex to be drawn: export it as a PNG of about {SIDE:,} pixels"
    return f"the SVG is damaged ({error.detail}): save it again"
