"""Brushes of the storybook: washed shapes with a darker outline, on one RGB canvas."""

from collections.abc import Sequence
from functools import cache
from typing import TypeVar

import cv2
import numpy as np

from linewash.storybook.palette import DAY, Colour, Mood

T = TypeVar("T")
Points = np.ndarray  # (n, 2) float, x then y, in pixels
SHIFT = 4  # fractional bits of the coordinates handed to cv2
OUTLINE = 0.42  # brightness of an outline as a share of its fill
_FALL = np.array([[1.0, 0.65, 0.3], [0.35, 0.0, -0.35], [-0.3, -0.65, -1.0]])  # light from the top left


def points(*xy: tuple[float, float]) -> Points:
    """Corner points ``(x, y)`` as an (n, 2) float array."""
    return np.array(xy, dtype=float)


@cache
def _parse(corners: str) -> Points:
    """The (n, 2) numbers of ``"x,y x,y ..."``."""
    return np.array([pair.split(",") for pair in corners.split()], dtype=float)


@cache
def _circle(n: int) -> Points:
    """The unit circle as (n, 2) points, anticlockwise from the right."""
    turn = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return np.stack([np.cos(turn), -np.sin(turn)], axis=1)


def oval(x: float, y: float, rx: float, ry: float | None = None, tilt: float = 0.0, n: int = 28) -> Points:
    """An ellipse about (x, y), radii ``rx`` and ``ry``, turned by ``tilt`` radians; (n, 2)."""
    unit = _circle(n) * (rx, rx if ry is None else ry)
    cos, sin = np.cos(tilt), np.sin(tilt)
    return unit @ np.array([[cos, sin], [-sin, cos]]) + (x, y)


def scallop(x: float, y: float, rx: float, ry: float, bumps: int, depth: float = 0.14) -> Points:
    """An ellipse whose rim is ``bumps`` rounded lobes, as of a cloud or a leafy crown."""
    n = bumps * 7
    rim = 1 - depth + depth * np.abs(np.sin(np.linspace(0, np.pi * bumps, n, endpoint=False)))
    return _circle(n) * rim[:, None] * (rx, ry) + (x, y)


def star(x: float, y: float, r: float, spikes: int = 5, waist: float = 0.45, tilt: float = 0.0) -> Points:
    """A star of ``spikes`` points and outer radius ``r``."""
    turn = np.linspace(0, 2 * np.pi, 2 * spikes, endpoint=False) - np.pi / 2 + tilt
    radius = np.where(np.arange(2 * spikes) % 2, waist, 1.0) * r
    return np.stack([x + radius * np.cos(turn), y + radius * np.sin(turn)], axis=1)


def smooth(outline: Points, rounds: int = 2) -> Points:
    """Closed outline with its corners cut ``rounds`` times (Chaikin), so that it looks drawn by hand."""
    for _ in range(rounds):
        after = np.roll(outline, -1, axis=0)
        cut = np.stack([0.75 * outline + 0.25 * after, 0.25 * outline + 0.75 * after], axis=1)
        outline = cut.reshape(-1, 2)
    return outline


def ridge(rng: np.random.Generator, width: int, y: float, swing: float, waves: float = 1.5) -> Points:
    """A rolling line across the picture at height ``y``, up and down by ``swing`` pixels; (41, 2)."""
    x = np.linspace(-0.05, 1.05, 41)
    roll = np.zeros(41)
    for octave, share in ((1.0, 0.7), (2.3, 0.3)):
        roll += share * np.sin(2 * np.pi * (waves * octave * x * rng.uniform(0.7, 1.2) + rng.uniform()))
    return np.stack([x * width, y + swing * roll], axis=1)


class Canvas:
    """One picture being painted: ``pixels`` (h, w, 3) uint8 RGB, its random source and its mood."""

    def __init__(self, width: int, height: int, rng: np.random.Generator) -> None:
        self.w, self.h, self.rng = width, height, rng
        self.pixels = np.zeros((height, width, 3), np.uint8)
        self.line = max(1, round(min(width, height) / 210))  # under a pixel once shrunk to 128
        self.mood: Mood = DAY

    def lit(self, paint: Colour, glow: bool = False) -> Colour:
        """``paint`` as the mood lights it; what glows (windows, stars) keeps its own colour."""
        if glow:
            return paint
        r, g, b = (p * k + a for p, k, a in zip(paint, self.mood.gain, self.mood.lift, strict=True))
        return (min(r, 255), min(g, 255), min(b, 255))

    def pick(self, *choices: T) -> T:
        """One of the choices at random."""
        return choices[int(self.rng.integers(len(choices)))]

    def count(self, low: int, high: int) -> int:
        """A random whole number from ``low`` to ``high``, both possible."""
        return int(self.rng.integers(low, high + 1))

    def chance(self, share: float) -> bool:
        """True in about this share of pictures."""
        return bool(self.rng.random() < share)

    def backdrop(self, rows: Sequence[Colour], top: float, bottom: float) -> None:
        """Fill the picture's whole width from ``top`` to ``bottom`` with a mottled run of colours."""
        y0, y1 = max(0, int(top)), min(self.h, int(np.ceil(bottom)))
        grid = np.repeat(np.array(rows, float)[:, None, :], 5, axis=1)
        grid += self.rng.normal(0, 5, grid.shape[:2])[..., None]
        wash = np.clip(grid, 0, 255).astype(np.uint8)
        self.pixels[y0:y1] = cv2.resize(wash, (self.w, y1 - y0), interpolation=cv2.INTER_LINEAR)

    def shape(
        self, outline: Points, paint: Colour, *, shade: float = 0.16, rim: float = OUTLINE, glow: bool = False
    ) -> None:
        """Fill a closed outline, lighter at its top left, then draw its rim (``rim=1`` for none)."""
        r, g, b = self.lit(paint, glow)
        fixed = np.rint(outline * (1 << SHIFT)).astype(np.int32)
        (left, top), (right, bottom) = outline.min(axis=0), outline.max(axis=0)
        x0, y0 = max(int(left), 0), max(int(top), 0)
        x1, y1 = min(int(right) + 2, self.w), min(int(bottom) + 2, self.h)
        if x1 <= x0 or y1 <= y0:
            return
        if (x1 - x0) * (y1 - y0) < 150 or shade == 0:
            cv2.fillPoly(self.pixels, [fixed], (r, g, b), cv2.LINE_AA, SHIFT)
        else:
            mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
            cv2.fillPoly(mask, [fixed - np.array([x0, y0], np.int32) * (1 << SHIFT)], 255, cv2.LINE_8, SHIFT)
            view = self.pixels[y0:y1, x0:x1]
            cv2.copyTo(self._wash((r, g, b), shade, x1 - x0, y1 - y0), mask, view)
        if rim < 1:
            ink = (r * rim, g * rim, b * rim)
            cv2.polylines(self.pixels, [fixed], True, ink, self.line, cv2.LINE_AA, SHIFT)

    def _wash(self, colour: Colour, shade: float, width: int, height: int) -> np.ndarray:
        """(height, width, 3) of one colour, light falling from the top left, uneven as watercolour."""
        light = 1 + shade * _FALL + self.rng.normal(0, 0.02, (3, 3))
        grid = np.clip(light[..., None] * colour, 0, 255).astype(np.uint8)
        return cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR)

    def below(self, line: Points, paint: Colour, *, shade: float = 0.16, rim: float = 0.5) -> None:
        """Fill everything under a line that crosses the picture from left to right."""
        edge = points((self.w * 1.1, self.h * 1.1), (-self.w * 0.1, self.h * 1.1))
        self.shape(np.concatenate([line, edge]), paint, shade=shade, rim=rim)

    def stroke(self, path: Points, paint: Colour, width: float = 0.0, glow: bool = False) -> None:
        """An open line through ``path``, ``width`` pixels thick (never thinner than an outline)."""
        fixed = np.rint(path * (1 << SHIFT)).astype(np.int32)
        thick = max(self.line, round(width))
        cv2.polylines(self.pixels, [fixed], False, self.lit(paint, glow), thick, cv2.LINE_AA, SHIFT)

    def grain(self, strength: float = 2.5) -> None:
        """Paper grain over everything: a small random tile, repeated, stronger where the paint is lighter."""
        tile = self.rng.normal(0, strength / 128, (96, 96))
        tile = cv2.GaussianBlur(tile, (3, 3), 0.6) * 1.5
        tiles = np.tile(tile, (self.h // 96 + 1, self.w // 96 + 1))[: self.h, : self.w]
        factor = cv2.merge([tiles + 1] * 3).astype(np.float32)
        self.pixels = cv2.multiply(self.pixels, factor, dtype=cv2.CV_8U)


class Spot:
    """Where a thing stands: foot at (x, y) pixels, ``s`` pixels tall; ``flip`` -1 looks left.

    Things are drawn in the spot's own units: x to the right (or to the left when flipped), y upwards
    from the foot, 1 being the thing's height.
    """

    def __init__(self, x: float, y: float, s: float, flip: int = 1) -> None:
        self.x, self.y, self.s, self.flip = x, y, s, flip

    def __call__(self, *xy: tuple[float, float]) -> Points:
        """The pixels of points given in the spot's units."""
        return points(*xy) * (self.s * self.flip, -self.s) + (self.x, self.y)

    def path(self, corners: str) -> Points:
        """The pixels of corners written as in SVG, ``"x,y x,y ..."``, in the spot's units."""
        return _parse(corners) * (self.s * self.flip, -self.s) + (self.x, self.y)

    def blob(self, corners: str) -> Points:
        """A rounded outline within the given corners, written as for ``path``."""
        return smooth(self.path(corners))

    def box(self, left: float, bottom: float, right: float, top: float) -> Points:
        """A rectangle in the spot's units."""
        return self((left, bottom), (right, bottom), (right, top), (left, top))

    def oval(self, x: float, y: float, rx: float, ry: float | None = None, tilt: float = 0.0) -> Points:
        """An ellipse in the spot's units; a positive tilt raises its right end."""
        n = 20 if rx * self.s < 12 else 32 if rx * self.s < 60 else 72
        return oval(x, y, rx, ry, tilt, n) * (self.s * self.flip, -self.s) + (self.x, self.y)

    def scallop(self, x: float, y: float, rx: float, ry: float, bumps: int) -> Points:
        """A lobed ellipse in the spot's units."""
        return scallop(x, y, rx, ry, bumps) * (self.s * self.flip, -self.s) + (self.x, self.y)

    def on(self, x: float, y: float, s: float) -> "Spot":
        """A spot at (x, y) of this one's units, ``s`` of its height tall, looking the same way."""
        ((px, py),) = self((x, y))
        return Spot(px, py, self.s * s, self.flip)
