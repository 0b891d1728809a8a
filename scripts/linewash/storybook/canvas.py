"""The canvas of the storybook: draws shaded shapes with dark outlines on an RGB image."""

from collections.abc import Sequence
from functools import cache
from typing import TypeVar

import cv2
import numpy as np

from linewash.storybook.palette import DAY, Colour, Mood

T = TypeVar("T")
Points = np.ndarray  # (n, 2) float, x then y, in pixels
SHIFT = 4  # fractional bits of the coordinates passed to cv2
OUTLINE = 0.42  # brightness of an outline, as a fraction of the fill's
_LIGHT = np.array([[1.0, 0.65, 0.3], [0.35, 0.0, -0.35], [-0.3, -0.65, -1.0]])  # from the top left


def points(*xy: tuple[float, float]) -> Points:
    """Returns points `(x, y)` as float [N, 2]."""
    return np.array(xy, dtype=float)


@cache
def _parse(corners: str) -> Points:
    """Parses points written as in SVG, `"x,y x,y ..."`, to float [N, 2]."""
    return np.array([pair.split(",") for pair in corners.split()], dtype=float)


@cache
def _circle(n: int) -> Points:
    """Returns `n` points of the unit circle, anticlockwise from the right, float [N, 2]."""
    turn = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return np.stack([np.cos(turn), -np.sin(turn)], axis=1)


def oval(x: float, y: float, rx: float, ry: float | None = None, tilt: float = 0.0, n: int = 28) -> Points:
    """Returns an ellipse around (x, y) with the radii `rx` and `ry`, turned by `tilt` radians."""
    unit = _circle(n) * (rx, rx if ry is None else ry)
    cos, sin = np.cos(tilt), np.sin(tilt)
    return unit @ np.array([[cos, sin], [-sin, cos]]) + (x, y)


def scallop(x: float, y: float, rx: float, ry: float, bumps: int, depth: float = 0.14) -> Points:
    """Returns an ellipse with a rim of `bumps` rounded lobes, for a cloud or the crown of a tree."""
    n = bumps * 7
    rim = 1 - depth + depth * np.abs(np.sin(np.linspace(0, np.pi * bumps, n, endpoint=False)))
    return _circle(n) * rim[:, None] * (rx, ry) + (x, y)


def star(x: float, y: float, r: float, spikes: int = 5, waist: float = 0.45, tilt: float = 0.0) -> Points:
    """Returns a star with `spikes` points, the outer radius `r` and the inner radius `waist * r`."""
    turn = np.linspace(0, 2 * np.pi, 2 * spikes, endpoint=False) - np.pi / 2 + tilt
    radius = np.where(np.arange(2 * spikes) % 2, waist, 1.0) * r
    return np.stack([x + radius * np.cos(turn), y + radius * np.sin(turn)], axis=1)


def smooth(outline: Points, rounds: int = 2) -> Points:
    """Rounds the corners of a closed outline by cutting them `rounds` times (Chaikin's algorithm)."""
    for _ in range(rounds):
        after = np.roll(outline, -1, axis=0)
        cut = np.stack([0.75 * outline + 0.25 * after, 0.25 * outline + 0.75 * after], axis=1)
        outline = cut.reshape(-1, 2)
    return outline


def ridge(rng: np.random.Generator, width: int, y: float, swing: float, waves: float = 1.5) -> Points:
    """Returns a random wave across the image at height `y`, with an amplitude of `swing`, in pixels."""
    x = np.linspace(-0.05, 1.05, 41)
    roll = np.zeros(41)
    for frequency, weight in ((1.0, 0.7), (2.3, 0.3)):
        roll += weight * np.sin(2 * np.pi * (waves * frequency * x * rng.uniform(0.7, 1.2) + rng.uniform()))
    return np.stack([x * width, y + swing * roll], axis=1)


class Canvas:
    """An image that is being drawn.

    Attributes:
      w, h: width and height in pixels.
      rng: the source of all randomness in the image.
      pixels: RGB, uint8 [H, W, 3].
      line: thickness of outlines in pixels.
      mood: the mood that lights all colours.
    """

    def __init__(self, width: int, height: int, rng: np.random.Generator) -> None:
        self.w, self.h, self.rng = width, height, rng
        self.pixels = np.zeros((height, width, 3), np.uint8)
        self.line = max(1, round(min(width, height) / 210))  # below one pixel after resizing to 128 px
        self.mood: Mood = DAY

    def lit(self, paint: Colour, glow: bool = False) -> Colour:
        """Returns `paint` in the light of the mood. With `glow` (windows, stars) it stays unchanged."""
        if glow:
            return paint
        r, g, b = (p * k + a for p, k, a in zip(paint, self.mood.gain, self.mood.lift, strict=True))
        return (min(r, 255), min(g, 255), min(b, 255))

    def pick(self, *choices: T) -> T:
        """Returns one of the choices at random."""
        return choices[int(self.rng.integers(len(choices)))]

    def count(self, low: int, high: int) -> int:
        """Returns a random integer from `low` to `high`, both included."""
        return int(self.rng.integers(low, high + 1))

    def chance(self, probability: float) -> bool:
        """Returns True with this probability."""
        return bool(self.rng.random() < probability)

    def backdrop(self, rows: Sequence[Colour], top: float, bottom: float) -> None:
        """Fills the image from `top` to `bottom`, in pixels, with a noisy gradient of the colours `rows`."""
        y0, y1 = max(0, int(top)), min(self.h, int(np.ceil(bottom)))
        grid = np.repeat(np.array(rows, float)[:, None, :], 5, axis=1)
        grid += self.rng.normal(0, 5, grid.shape[:2])[..., None]
        wash = np.clip(grid, 0, 255).astype(np.uint8)
        self.pixels[y0:y1] = cv2.resize(wash, (self.w, y1 - y0), interpolation=cv2.INTER_LINEAR)

    def shape(
        self, outline: Points, paint: Colour, *, shade: float = 0.16, rim: float = OUTLINE, glow: bool = False
    ) -> None:
        """Fills a closed outline and draws its rim.

        Args:
          outline: float [N, 2], in pixels.
          paint: the colour of the fill.
          shade: strength of the shading, which is light at the top left; 0 for a flat fill.
          rim: brightness of the rim as a fraction of the fill's; 1 for no rim.
          glow: whether the fill ignores the light of the mood.
        """
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
        """Returns a shaded and slightly uneven area of one colour, uint8 [height, width, 3]."""
        light = 1 + shade * _LIGHT + self.rng.normal(0, 0.02, (3, 3))
        grid = np.clip(light[..., None] * colour, 0, 255).astype(np.uint8)
        return cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR)

    def below(self, line: Points, paint: Colour, *, shade: float = 0.16, rim: float = 0.5) -> None:
        """Fills the area below a line that crosses the image from left to right."""
        edge = points((self.w * 1.1, self.h * 1.1), (-self.w * 0.1, self.h * 1.1))
        self.shape(np.concatenate([line, edge]), paint, shade=shade, rim=rim)

    def stroke(self, path: Points, paint: Colour, width: float = 0.0, glow: bool = False) -> None:
        """Draws an open line through `path`, `width` pixels thick but never thinner than an outline."""
        fixed = np.rint(path * (1 << SHIFT)).astype(np.int32)
        thick = max(self.line, round(width))
        cv2.polylines(self.pixels, [fixed], False, self.lit(paint, glow), thick, cv2.LINE_AA, SHIFT)

    def grain(self, strength: float = 2.5) -> None:
        """Multiplies the image by paper grain, a random tile of 96 px that is repeated."""
        tile = self.rng.normal(0, strength / 128, (96, 96))
        tile = cv2.GaussianBlur(tile, (3, 3), 0.6) * 1.5
        tiles = np.tile(tile, (self.h // 96 + 1, self.w // 96 + 1))[: self.h, : self.w]
        factor = cv2.merge([tiles + 1] * 3).astype(np.float32)
        self.pixels = cv2.multiply(self.pixels, factor, dtype=cv2.CV_8U)


class Spot:
    """The position of a thing: its foot at (x, y) and its height `s`, in pixels. `flip` -1 mirrors it.

    A thing is drawn in the spot's units: x to the right (to the left if mirrored), y upwards from the foot,
    in which the height is 1.
    """

    def __init__(self, x: float, y: float, s: float, flip: int = 1) -> None:
        self.x, self.y, self.s, self.flip = x, y, s, flip

    def __call__(self, *xy: tuple[float, float]) -> Points:
        """Converts points from the spot's units to pixels."""
        return points(*xy) * (self.s * self.flip, -self.s) + (self.x, self.y)

    def path(self, corners: str) -> Points:
        """Converts corners written as in SVG, `"x,y x,y ..."`, from the spot's units to pixels."""
        return _parse(corners) * (self.s * self.flip, -self.s) + (self.x, self.y)

    def blob(self, corners: str) -> Points:
        """As `path`, with rounded corners."""
        return smooth(self.path(corners))

    def box(self, left: float, bottom: float, right: float, top: float) -> Points:
        """Returns the pixels of a rectangle in the spot's units."""
        return self((left, bottom), (right, bottom), (right, top), (left, top))

    def oval(self, x: float, y: float, rx: float, ry: float | None = None, tilt: float = 0.0) -> Points:
        """Returns the pixels of an ellipse in the spot's units. A positive tilt raises its right end."""
        n = 20 if rx * self.s < 12 else 32 if rx * self.s < 60 else 72
        return oval(x, y, rx, ry, tilt, n) * (self.s * self.flip, -self.s) + (self.x, self.y)

    def scallop(self, x: float, y: float, rx: float, ry: float, bumps: int) -> Points:
        """Returns the pixels of a lobed ellipse in the spot's units."""
        return scallop(x, y, rx, ry, bumps) * (self.s * self.flip, -self.s) + (self.x, self.y)

    def on(self, x: float, y: float, s: float) -> "Spot":
        """Returns a spot at (x, y) in this spot's units, `s` times as tall and in the same direction."""
        ((px, py),) = self((x, y))
        return Spot(px, py, self.s * s, self.flip)
