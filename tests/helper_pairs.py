"""Makes drawings and their colourings for tests, as pixels, files and SVGs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from helper_photos import png

WHITE, BLACK = (255, 255, 255), (0, 0, 0)
PEN = 3  # px


def make_pair(seed: int, height: int = 200, width: int = 240) -> tuple[np.ndarray, np.ndarray]:
    """Draws discs with a pen, and the same discs in colour, both on white.

    Returns:
      the drawing and its colouring, RGB, uint8 [height, width, 3].
    """
    drawing, color = (np.full((height, width, 3), 255, np.uint8) for _ in range(2))
    for center, radius, fill in discs(seed, height, width):
        for image, inside in ((drawing, WHITE), (color, fill)):
            cv2.circle(image, center, radius, inside, -1, cv2.LINE_AA)
            cv2.circle(image, center, radius, BLACK, PEN, cv2.LINE_AA)
    return drawing, color


def discs(seed: int, height: int, width: int) -> list[tuple[tuple[int, int], int, tuple[int, ...]]]:
    """Returns the centre, radius and colour of some discs."""
    rng = np.random.default_rng(seed)
    colors = ((230, 30, 30), (30, 160, 40), (40, 60, 220), (250, 200, 20))
    return [
        (
            (int(rng.integers(50, width - 50)), int(rng.integers(50, height - 50))),
            int(rng.integers(20, 45)),
            fill,
        )
        for fill in colors
    ]


def make_svg(seed: int, height: int = 200, width: int = 240) -> bytes:
    """Returns an SVG of the same discs, with outlines of ink."""
    shapes = "".join(
        f'<circle cx="{x}" cy="{y}" r="{radius}" fill="rgb{fill}" stroke="#000" stroke-width="{PEN}"/>'
        for (x, y), radius, fill in discs(seed, height, width)
    )
    return document(shapes, f'viewBox="0 0 {width} {height}"')


def document(body: str, attributes: str = 'viewBox="0 0 60 40"') -> bytes:
    """Returns an SVG with these elements."""
    namespaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f"<svg {namespaces} {attributes}>{body}</svg>".encode()


def write_pairs(drawings: Path, colors: Path, count: int, classes: int = 3) -> None:
    """Writes drawings as `drawings/CLASS/N.png` and their colourings as `colors/CLASS/N.png`."""
    for i in range(count):
        for root, image in zip((drawings, colors), make_pair(i), strict=True):
            path = root / f"n{i % classes}" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(image))
