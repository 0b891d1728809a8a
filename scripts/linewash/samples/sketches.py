"""Draws sketches that look hand-made, and simulates how drawings reach a computer: scans, photos, PNGs.

Tests, the page's examples and the README use them. A stroke is a trembling path of a pen, marker or pencil;
no edge detector is involved. The same seed gives the same images.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from PIL import Image

Path = np.ndarray  # float [N, 2], x then y, as fractions 0..1 of the drawing's width and height
INK = (34, 32, 40)


@dataclass(frozen=True)
class Sketch:
    """A drawing as a file. `hints` are the bytes of a PNG with hint strokes for it, or None."""

    name: str
    data: bytes
    hints: bytes | None = None


class Pen:
    """Draws trembling paths on a sheet of `width` x `height` pixels.

    It draws at twice the size and then downscales, so that lines are antialiased.

    Args:
      width, height: size of the sheet in pixels.
      line: width of lines in pixels.
      seed: seed of the trembling.
      wobble: strength of the trembling.
      pressure: variation of the pressure along a stroke, from 0 (none) to 1.
    """

    def __init__(
        self, width: int, height: int, line: float, seed: int, wobble: float = 1.0, pressure: float = 0.0
    ) -> None:
        self.width, self.height, self.line = width, height, line
        self.rng = np.random.default_rng(seed)
        self.wobble, self.pressure = wobble, pressure
        self._ink = np.zeros((2 * height, 2 * width), np.float32)

    def stroke(self, path: Path, closed: bool = False) -> None:
        """Draws a stroke through the points of `path`. A closed stroke slightly misses its beginning."""
        points = path * (self.width, self.height)
        if closed:
            points = np.concatenate([points, points[:1] + self.rng.normal(0, 0.4 * self.line, (1, 2))])
        points = self._tremble(_along(points, max(3.0, min(self.width, self.height) / 150)))
        force = 1 - self.pressure * self._slow(len(points))
        for (start, stop), strength in zip(pairwise(points), force[1:], strict=True):
            width = max(1, round(2 * self.line * (0.75 + 0.25 * strength)))
            self._segment(start, stop, width, float(strength))

    def fill(self, path: Path) -> None:
        """Fills the area inside `path` with ink."""
        points = self._tremble(_along(path * (self.width, self.height), 6.0))
        cv2.fillPoly(self._ink, [np.rint(points * 32).astype(np.int32)], 1.0, cv2.LINE_AA, 4)

    @property
    def ink(self) -> np.ndarray:
        """The ink on the sheet, float32 [H, W] in 0..1."""
        return cv2.resize(self._ink, (self.width, self.height), interpolation=cv2.INTER_AREA)

    def _segment(self, start: np.ndarray, stop: np.ndarray, width: int, strength: float) -> None:
        # Changes only the segment's bounding box, because a sheet may have millions of pixels.
        low = np.floor(np.minimum(start, stop) * 2 - width - 2).astype(int).clip(0)
        high = np.ceil(np.maximum(start, stop) * 2 + width + 2).astype(int)
        view = self._ink[low[1] : high[1], low[0] : high[0]]
        if not view.size:
            return
        mark = np.zeros(view.shape, np.float32)
        ends = [tuple(int(v) for v in np.rint((p * 2 - low) * 16)) for p in (start, stop)]
        cv2.line(mark, ends[0], ends[1], strength, width, cv2.LINE_AA, 4)
        np.maximum(view, mark, out=view)

    def _tremble(self, points: Path) -> Path:
        size = self.wobble * min(self.width, self.height) / 220
        return points + size * np.stack([self._slow(len(points)), self._slow(len(points))], 1) * 2 - size

    def _slow(self, count: int) -> np.ndarray:
        """Returns `count` smoothly varying random values in 0..1."""
        knots = self.rng.uniform(0, 1, count // 7 + 4)
        return np.interp(np.linspace(0, len(knots) - 1, count), np.arange(len(knots)), knots)


def _along(points: Path, step: float) -> Path:
    """Resamples a path to points `step` pixels apart."""
    lengths = np.hypot(*np.diff(points, axis=0).T)
    at = np.concatenate([[0], np.cumsum(lengths)])
    count = max(2, int(at[-1] / step) + 1)
    where = np.linspace(0, at[-1], count)
    return np.stack([np.interp(where, at, points[:, i]) for i in (0, 1)], 1)


def _points(text: str) -> Path:
    return np.array([[float(v) for v in pair.split(",")] for pair in text.split()])


def _oval(x: float, y: float, rx: float, ry: float, start: float = 0.0, turn: float = 1.0) -> Path:
    angle = 2 * np.pi * (start + turn * np.linspace(0, 1, 40))
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], 1)


def _lobes(x: float, y: float, rx: float, ry: float, bumps: int) -> Path:
    angle = np.linspace(0, 2 * np.pi, bumps * 12, endpoint=False)
    reach = 0.84 + 0.16 * np.abs(np.sin(angle * bumps / 2))
    return np.stack([x + rx * reach * np.cos(angle), y + ry * reach * np.sin(angle)], 1)


def _wave(y: float, swing: float, waves: float, x0: float = -0.02, x1: float = 1.02) -> Path:
    x = np.linspace(x0, x1, 40)
    return np.stack([x, y + swing * np.sin(2 * np.pi * waves * x + 0.7)], 1)


# ---------------------------------------------------------------------------------------------- scenes


def sun(pen: Pen, x: float, y: float, r: float) -> None:
    """Draws a disc with rays. It is round whatever the shape of the sheet."""
    squash = pen.width / pen.height
    pen.stroke(_oval(x, y, r, r * squash, 0.1, 1.02))
    for turn in np.arange(10) / 10:
        ray = r * np.array([np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn) * squash])
        pen.stroke(np.outer([1.35, 1.8], ray) + np.array([x, y]))


def house(pen: Pen, x: float, y: float, w: float, h: float) -> None:
    """Draws a house with an overhanging roof and a chimney. (x, y) is the lower left corner of the wall."""
    pen.stroke(np.array([[x, y], [x, y - h], [x + w, y - h], [x + w, y]]), closed=True)
    roof = np.array([[x - 0.14 * w, y - h], [x + 0.5 * w, y - 1.75 * h], [x + 1.14 * w, y - h]])
    pen.stroke(roof, closed=True)
    pen.stroke(np.array([[0.4, 0], [0.4, -0.52], [0.62, -0.52], [0.62, 0]]) * (w, h) + (x, y))
    pen.stroke(_oval(x + 0.57 * w, y - 0.26 * h, 0.016 * w, 0.02 * h))
    for left in (0.1, 0.7):
        pane = np.array([[0, 0], [0, -0.3], [0.2, -0.3], [0.2, 0]]) * (w, h) + (x + left * w, y - 0.42 * h)
        pen.stroke(pane, closed=True)
        pen.stroke(np.stack([pane[:2].mean(0), pane[2:].mean(0)]))
    stack = np.array([[0.76, -1.42], [0.76, -1.78], [0.92, -1.78], [0.92, -1.2]]) * (w, h) + (x, y)
    pen.stroke(stack)


def tree(pen: Pen, x: float, y: float, w: float, h: float) -> None:
    """Draws a trunk and a lobed crown. (x, y) is the foot."""
    pen.stroke(np.array([[x - 0.1 * w, y], [x - 0.07 * w, y - 0.45 * h]]))
    pen.stroke(np.array([[x + 0.1 * w, y], [x + 0.07 * w, y - 0.45 * h]]))
    pen.stroke(_lobes(x, y - 0.68 * h, 0.5 * w, 0.33 * h, 7), closed=True)


def cloud(pen: Pen, x: float, y: float, w: float, h: float) -> None:
    """Draws a lobed oval."""
    pen.stroke(_lobes(x, y, w, h, 6), closed=True)


def boat(pen: Pen, x: float, y: float, w: float, h: float) -> None:
    """Draws a hull, a mast and two sails. (x, y) is the middle of the water line."""
    unit = np.array([[w, h]])
    pen.stroke(_points("-0.5,-0.12 0.5,-0.12 0.34,0.1 -0.34,0.1") * unit + (x, y), closed=True)
    pen.stroke(_points("0,-0.12 0,-1") * unit + (x, y))
    pen.stroke(_points("0.03,-0.95 0.4,-0.24 0.03,-0.24") * unit + (x, y), closed=True)
    pen.stroke(_points("-0.03,-0.8 -0.34,-0.24 -0.03,-0.24") * unit + (x, y), closed=True)


def cat(pen: Pen, x: float, y: float, w: float, h: float) -> None:
    """Draws a sitting cat. (x, y) is the middle of its base."""
    unit = np.array([[w, h]])
    offset = np.array([[x, y]])
    pen.stroke(_oval(x, y - 0.3 * h, 0.34 * w, 0.3 * h), closed=True)
    pen.stroke(_oval(x, y - 0.74 * h, 0.25 * w, 0.19 * h), closed=True)
    pen.stroke(_points("-0.22,-0.84 -0.22,-1.06 -0.07,-0.93") * unit + offset)
    pen.stroke(_points("0.22,-0.84 0.22,-1.06 0.07,-0.93") * unit + offset)
    pen.stroke(_points("0.32,-0.2 0.5,-0.16 0.56,-0.36 0.5,-0.52 0.58,-0.56 0.66,-0.34 0.56,-0.08 0.3,-0.08")
               * unit + offset)  # fmt: skip
    for side in (-1, 1):
        pen.fill(_oval(x + side * 0.09 * w, y - 0.77 * h, 0.025 * w, 0.022 * h))
        pen.stroke(np.array([[side * 0.08, -0.68], [side * 0.32, -0.71]]) * unit + offset)
    pen.stroke(_points("-0.03,-0.71 0.03,-0.71 0,-0.68 0,-0.65") * unit + offset)


def flower(pen: Pen, x: float, y: float, h: float) -> None:
    """Draws a stem, two leaves and a lobed head. (x, y) is the foot."""
    squash = pen.width / pen.height
    pen.stroke(np.array([[x, y], [x, y - h * 0.7]]))
    pen.stroke(_lobes(x, y - 0.82 * h, 0.17 * h / squash, 0.17 * h, 6), closed=True)
    pen.stroke(_oval(x, y - 0.82 * h, 0.05 * h / squash, 0.05 * h), closed=True)
    for side in (-1, 1):
        leaf = _points("0,-0.2 0.1,-0.34 0.2,-0.36 0.14,-0.24") * (side * h / squash, h) + (x, y)
        pen.stroke(leaf, closed=True)


def home(pen: Pen) -> None:
    """Draws a house beside a tree, hills behind them, a sun and two clouds."""
    pen.stroke(_wave(0.6, 0.05, 1.1, -0.02, 0.20))
    pen.stroke(_wave(0.6, 0.05, 1.1, 0.56, 0.71))
    pen.stroke(_wave(0.6, 0.05, 1.1, 0.82, 1.02))
    pen.stroke(_wave(0.86, 0.012, 1.6))
    house(pen, 0.22, 0.86, 0.32, 0.24)
    tree(pen, 0.76, 0.87, 0.24, 0.46)
    sun(pen, 0.86, 0.17, 0.055)
    cloud(pen, 0.2, 0.18, 0.13, 0.06)
    cloud(pen, 0.55, 0.13, 0.1, 0.05)


def sea(pen: Pen) -> None:
    """Draws a sailing boat on waves, an island and a sun."""
    pen.stroke(_wave(0.56, 0.0, 1, -0.02, 0.335))
    pen.stroke(_wave(0.56, 0.0, 1, 0.40, 0.71))
    pen.stroke(_wave(0.56, 0.0, 1, 0.95, 1.02))
    pen.stroke(_oval(0.83, 0.565, 0.12, 0.09, 0.5, 0.5))
    boat(pen, 0.4, 0.68, 0.44, 0.52)
    sun(pen, 0.16, 0.18, 0.06)
    cloud(pen, 0.68, 0.16, 0.13, 0.055)
    for y in (0.78, 0.88):
        pen.stroke(_wave(y, 0.012, 6, 0.08 + y / 9, 0.3 + y / 9))
        pen.stroke(_wave(y + 0.03, 0.012, 6, 0.55, 0.8))


def pet(pen: Pen) -> None:
    """Draws a cat in a meadow with flowers, a sun and a cloud."""
    pen.stroke(_wave(0.62, 0.02, 0.8, -0.02, 0.40))
    pen.stroke(_wave(0.62, 0.02, 0.8, 0.74, 1.02))
    cat(pen, 0.52, 0.86, 0.42, 0.56)
    flower(pen, 0.14, 0.88, 0.26)
    flower(pen, 0.27, 0.95, 0.2)
    flower(pen, 0.88, 0.93, 0.28)
    sun(pen, 0.14, 0.17, 0.06)
    cloud(pen, 0.76, 0.18, 0.14, 0.06)


def tower(pen: Pen) -> None:
    """Draws a lighthouse on a rock, for a tall sheet."""
    pen.stroke(_points("0.3,0.86 0.38,0.32 0.62,0.32 0.7,0.86"), closed=True)
    for y in (0.45, 0.58, 0.72):
        half = 0.12 + 0.08 * (y - 0.32) / 0.54
        pen.stroke(np.array([[0.5 - half, y], [0.5 + half, y]]))
    pen.stroke(_points("0.4,0.32 0.4,0.24 0.6,0.24 0.6,0.32"))
    pen.stroke(_points("0.34,0.24 0.5,0.16 0.66,0.24"), closed=True)
    pen.stroke(_points("-0.02,0.9 0.15,0.86 0.85,0.86 1.02,0.92"))
    pen.stroke(_points("0.44,0.86 0.44,0.81 0.56,0.81 0.56,0.86"))
    sun(pen, 0.8, 0.07, 0.09)
    cloud(pen, 0.24, 0.12, 0.17, 0.025)
    pen.stroke(_wave(0.95, 0.004, 4, 0.1, 0.6))
    pen.stroke(_wave(0.975, 0.004, 4, 0.4, 0.95))


# ------------------------------------------------------------------------------------------- renderings


def on_white(ink: np.ndarray, color: tuple[int, int, int] = INK) -> np.ndarray:
    """Renders ink, float32 [H, W] in 0..1, on white paper as RGB, uint8 [H, W, 3]."""
    return np.rint(255 - ink[..., None] * (255 - np.array(color))).astype(np.uint8)


def on_black(ink: np.ndarray) -> np.ndarray:
    """Renders ink as chalk on a blackboard, uint8 [H, W, 3]."""
    return np.rint(22 + ink[..., None] * (244 - 22) * np.ones(3)).astype(np.uint8)


def on_transparent(ink: np.ndarray) -> np.ndarray:
    """Renders ink on a transparent background as RGBA, uint8 [H, W, 4]."""
    alpha = np.rint(ink * 255).astype(np.uint8)
    return np.dstack([np.broadcast_to(np.array(INK, np.uint8), (*ink.shape, 3)), alpha])


def simulate_photo(sheet: np.ndarray, seed: int, strength: float = 1.0) -> np.ndarray:
    """Simulates a phone's photo of a sheet: light from a corner, a shadow, a blue cast, grain and noise.

    Args:
      sheet: uint8 [H, W, 3].
      seed: seed of the grain and the noise.
      strength: strength of the light and shadow; 0 for even light. Grain, cast and noise do not depend on it.

    Returns:
      uint8 [H, W, 3].
    """
    rng = np.random.default_rng(seed)
    height, width = sheet.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = x / width, y / height
    light = 1 - strength * (0.34 * x + 0.2 * y * y)
    light *= 1 - strength * 0.22 / (1 + np.exp(-(x + 0.6 * y - 1.15) * 14))  # shadow of the hand
    grain = cv2.GaussianBlur(rng.normal(0, 1, (height, width)).astype(np.float32), (0, 0), 2) * 0.05
    photo = sheet / 255 * (light * (1 + grain))[..., None] * np.array([0.80, 0.86, 0.94], np.float32)
    photo = cv2.GaussianBlur(photo.astype(np.float32), (0, 0), 0.9)
    photo += rng.normal(0, 0.014, photo.shape).astype(np.float32)
    return np.rint(np.clip(photo, 0, 1) * 255).astype(np.uint8)


def simulate_pencil(ink: np.ndarray, seed: int) -> np.ndarray:
    """Renders ink as a scanned pencil drawing, grey and uneven, uint8 [H, W, 3]."""
    rng = np.random.default_rng(seed)
    tooth = cv2.GaussianBlur(rng.normal(0, 1, ink.shape).astype(np.float32), (0, 0), 0.9) * 1.8
    soft = cv2.GaussianBlur(ink, (0, 0), 0.8) * np.clip(0.62 + 0.22 * tooth, 0, 1)
    paper = 246 + rng.normal(0, 2.0, ink.shape)
    return np.clip(np.dstack([paper - soft * 150] * 3), 0, 255).astype(np.uint8)


def on_ruled_paper(sheet: np.ndarray, step: int) -> np.ndarray:
    """Adds light blue lines every `step` pixels and a red margin to a sheet, uint8 [H, W, 3]."""
    height, width = sheet.shape[:2]
    paper = np.full(sheet.shape, 250, np.uint8)
    for y in range(step, height, step):
        cv2.line(paper, (0, y), (width, y + 2), (176, 200, 232), 1, cv2.LINE_AA)
    cv2.line(paper, (width // 9, 0), (width // 9, height), (236, 170, 170), 2, cv2.LINE_AA)
    return (paper.astype(np.uint16) * sheet // 255).astype(np.uint8)


def encode_image(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    """Encodes uint8 [H, W, 3 or 4] as an image file of this format."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **({"quality": 82} if kind == "JPEG" else {}))
    return file.getvalue()


def hint_strokes(width: int, height: int, strokes: list[tuple[str, tuple[int, int, int]]]) -> bytes:
    """Returns a transparent PNG with broad hint strokes.

    Args:
      width, height: size of the drawing in pixels.
      strokes: points, as fractions of width and height written as in SVG, and the RGB colour of each stroke.
    """
    layer = np.zeros((height, width, 4), np.uint8)
    for text, color in strokes:
        path = np.rint(_points(text) * (width, height)).astype(np.int32)
        cv2.polylines(layer, [path], False, (*color, 255), max(2, min(width, height) // 50))
    return encode_image(layer)


def draw(
    scene: Callable[[Pen], None], width: int, height: int, line: float, seed: int,
    wobble: float = 1.0, pressure: float = 0.0,
) -> np.ndarray:  # fmt: skip
    """Draws a scene and returns its ink, float32 [height, width] in 0..1. For the arguments see `Pen`."""
    pen = Pen(width, height, line, seed, wobble, pressure)
    scene(pen)
    return pen.ink


def sketches(seed: int = 0) -> list[Sketch]:
    """Returns the sketches, one for each kind of file."""
    marker = Pen(900, 900, 26, seed + 5)
    tree(marker, 0.7, 0.9, 0.46, 0.74)
    house(marker, 0.1, 0.9, 0.34, 0.34)
    marker.stroke(_wave(0.9, 0.01, 1))
    filled = Pen(800, 640, 4, seed + 9)
    home(filled)
    filled.fill(np.array([[0.175, 0.62], [0.38, 0.44], [0.585, 0.62]]))
    strokes = [
        ("0.05,0.3 0.4,0.4 0.6,0.3", (255, 150, 80)),  # an evening sky
        ("0.36,0.57 0.44,0.6", (170, 0, 0)),  # a red roof, in the palette's nearest colour
        ("0.1,0.93 0.8,0.95", (85, 170, 85)),
        ("0.72,0.55 0.8,0.6", (170, 85, 0)),  # an autumn tree
    ]
    return [
        Sketch("01-ink.png", encode_image(on_white(draw(home, 800, 640, 3.2, seed)))),
        Sketch("02-chalk.png", encode_image(on_black(draw(sea, 820, 640, 4, seed + 1)))),
        Sketch("03-transparent.png", encode_image(on_transparent(draw(pet, 700, 700, 3.5, seed + 2)))),
        Sketch("04-tall.png", encode_image(on_white(draw(tower, 300, 1000, 3, seed + 3)))),
        Sketch(
            "05-phone.jpg",
            encode_image(simulate_photo(on_white(draw(sea, 2000, 1500, 7, seed + 4)), seed), "JPEG"),
        ),
        Sketch("06-marker.png", encode_image(on_white(marker.ink))),
        Sketch(
            "07-pencil.png", encode_image(simulate_pencil(draw(pet, 1100, 850, 4, seed + 6, 1, 0.7), seed))
        ),
        Sketch(
            "08-hints.png",
            encode_image(on_white(draw(home, 800, 640, 3, seed + 7))),
            hint_strokes(800, 640, strokes),
        ),
        Sketch(
            "09-ruled.jpg",
            encode_image(on_ruled_paper(on_white(draw(home, 1000, 800, 3.5, seed + 8)), 40), "JPEG"),
        ),
        Sketch("10-small.png", encode_image(on_white(draw(home, 128, 104, 1.2, seed + 10)))),
        Sketch("11-filled.png", encode_image(on_white(filled.ink))),
    ]
