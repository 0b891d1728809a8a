"""A canvas that records its shapes as an SVG of flat colours, for scenes with a drawing of their own."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, tostring

import numpy as np

from linewash.storybook.canvas import OUTLINE, Canvas, Points
from linewash.storybook.palette import Colour

_NAMESPACE = "http://www.w3.org/2000/svg"


class SvgCanvas(Canvas):
    """A canvas whose shapes are flat and without outlines: `preprocess.svg_drawing` draws the outlines.

    A scene differs from that of a `Canvas` with the same generator, because shading takes no random numbers.
    """

    def __init__(self, width: int, height: int, rng: np.random.Generator) -> None:
        super().__init__(width, height, rng)
        size = {"width": str(width), "height": str(height), "viewBox": f"0 0 {width} {height}"}
        self._root = Element("svg", {"xmlns": _NAMESPACE, **size})

    def backdrop(self, rows: Sequence[Colour], top: float, bottom: float) -> None:
        """Adds a rectangle of the mean of the colours `rows`: lines do not show a gradient."""
        paint = np.mean(rows, axis=0).tolist()
        box = {"x": 0, "y": round(top, 1), "width": self.w, "height": round(bottom - top, 1)}
        SubElement(self._root, "rect", {name: str(value) for name, value in box.items()}, fill=_hex(paint))

    def shape(
        self, outline: Points, paint: Colour, *, shade: float = 0.16, rim: float = OUTLINE, glow: bool = False
    ) -> None:
        """Adds a closed outline that is filled with a flat colour; `shade` and `rim` count for nothing."""
        SubElement(self._root, "polygon", points=_coordinates(outline), fill=_hex(self.lit(paint, glow)))

    def stroke(self, path: Points, paint: Colour, width: float = 0.0, glow: bool = False) -> None:
        """Adds an open line, `width` pixels thick but never thinner than an outline."""
        SubElement(
            self._root,
            "polyline",
            {"stroke-width": f"{max(self.line, width):.1f}", "stroke-linecap": "round"},
            points=_coordinates(path),
            stroke=_hex(self.lit(paint, glow)),
            fill="none",
        )

    def grain(self, strength: float = 2.5) -> None:
        """Leaves the colours flat."""

    def svg(self) -> bytes:
        """Returns the picture as an SVG file."""
        return tostring(self._root)


def _hex(paint: Sequence[float]) -> str:
    return "#" + bytes(int(np.clip(round(value), 0, 255)) for value in paint).hex()


def _coordinates(corners: Points) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
