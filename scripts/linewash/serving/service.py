"""What the page asks, answered: bytes in, pictures out. Nothing is kept between two questions."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Annotated, Literal

import cv2
import msgspec
import numpy as np

from linewash.coloring.colorize import LINE, Picture, Settings, colorize
from linewash.coloring.image_io import read_layer
from linewash.coloring.line_extraction import Drawing, EmptyPageError, Polarity, Source, read_drawing
from linewash.coloring.model_loader import Network
from linewash.coloring.openraster import encode_png, to_ora, to_png
from linewash.samples.sketches import draw, home, on_transparent, pet, sea
from training.errors import WorkError

# Areas are found at this many pixels on the longer side, whatever the page's size: a stroke is answered at
# once, and what is downloaded is what was seen.
FINEST = 384
PAGE_SIDE = 1024  # px of the longer side of the page
PAGE_PIXELS = 1 << 22  # of a page that is to be coloured; ours has a quarter of it
FILE_PIXELS = 25_000_000  # of a picture that is dropped: phones' ordinary ones have half as many
MOST_VARIANTS = 8
EXAMPLES = {"home": home, "sea": sea, "pet": pet}


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A page to be coloured.

    drawing: its lines, dark on white. hints: strokes of colour on nothing, of the same size. Both are picture
    files; JSON carries them in base64.
    """

    drawing: bytes
    hints: bytes | None = None
    variants: Annotated[int, msgspec.Meta(ge=1, le=MOST_VARIANTS)] = 1
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**31)] = 0


class Download(Question, frozen=True, forbid_unknown_fields=True):
    """One of its colourings as a file; `variant` counts from 0."""

    variant: Annotated[int, msgspec.Meta(ge=0, lt=MOST_VARIANTS)] = 0
    format: Literal["png", "ora"] = "png"
    lines: bool = True


def about(network: Network) -> dict[str, object]:
    """What the page must know of the network."""
    return {
        "palette": [f"#{bytes(color).hex()}" for color in network.palette.colors],
        "hints": network.takes_hints,
        "side": PAGE_SIDE,
        "examples": list(EXAMPLES),
    }


def colorings(question: Question, network: Network) -> list[bytes]:
    """The colourings of a page as PNGs of `FINEST` pixels, the likeliest first; none of an empty page.

    Raises:
      WorkError: a picture that cannot be used.
    """
    try:
        drawing = _read(question)
    except EmptyPageError:
        return []
    height, width = drawing.guide.shape
    # The page at the size at which areas are found: enlarging them is left to the browser.
    small = cv2.resize(drawing.rgb, (width, height), interpolation=cv2.INTER_AREA)
    drawing = dataclasses.replace(drawing, rgb=small)
    return [to_png(picture) for picture in _colored(question, drawing, network)]


def file(question: Download, network: Network) -> bytes:
    """A colouring at the page's full size, as PNG or OpenRaster.

    Raises:
      EmptyPageError: there is nothing to colour.
      WorkError: a picture that cannot be used, or the network sees fewer variants.
    """
    pictures = _colored(question, _read(question), network)
    if question.variant >= len(pictures):
        raise WorkError("this colouring is gone: choose another")
    picture = pictures[question.variant]
    return to_ora(picture) if question.format == "ora" else to_png(picture, overlay=question.lines)


def ink(data: bytes, source: Source = "drawing", lines: Polarity = "auto") -> bytes:
    """A picture file's lines, freed of paper and light: a PNG of ink on nothing, `PAGE_SIDE` at most.

    Raises:
      WorkError: a picture that cannot be used, or nothing is drawn on it.
    """
    drawing = read_drawing(data, lines, source, most=FILE_PIXELS)
    height, width = drawing.shape
    scale = (
        min(1.0, PAGE_SIDE / max(height, width)) if source == "drawing" else PAGE_SIDE / max(height, width)
    )
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if source == "photo":  # no ink of its own: its lines are drawn with a pen
        lines_found = cv2.resize(drawing.guide * np.float32(1), size, interpolation=cv2.INTER_LINEAR)
        alpha = np.clip(2 * lines_found, 0, 1)
    else:
        alpha = cv2.resize(drawing.ink, size, interpolation=cv2.INTER_AREA)
    rgba = np.empty((*alpha.shape, 4), np.uint8)
    rgba[..., :3] = LINE
    rgba[..., 3] = np.rint(alpha * 255)
    return encode_png(rgba)


@cache
def example(name: str) -> bytes:
    """One of `EXAMPLES` as a PNG of ink on nothing.

    Raises:
      KeyError: there is none of that name.
    """
    return encode_png(on_transparent(draw(EXAMPLES[name], PAGE_SIDE, PAGE_SIDE * 3 // 4, 4, seed=3)))


def warm_up(network: Network) -> None:
    """Colours an example, so that the first stroke is answered as fast as the others."""
    colorings(Question(example("home")), network)


def _read(question: Question) -> Drawing:
    return read_drawing(question.drawing, "dark", finest=FINEST, most=PAGE_PIXELS)


def _colored(question: Question, drawing: Drawing, network: Network) -> list[Picture]:
    hints = None if question.hints is None else read_layer(question.hints, PAGE_PIXELS)
    settings = Settings(variants=question.variants, seed=question.seed)
    return colorize(drawing, network, settings, hints)
