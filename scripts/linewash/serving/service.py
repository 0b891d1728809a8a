"""Answers the web page's requests, without HTTP: image bytes to image bytes, without state."""

from __future__ import annotations

import dataclasses
from functools import cache, lru_cache
from typing import Annotated, Literal

import cv2
import msgspec
import numpy as np

from linewash.coloring.color_names import color_names
from linewash.coloring.colorizer import LINE_COLOR, MAX_VIVID, ColoredImage, Settings, colorize
from linewash.coloring.image_io import read_hints
from linewash.coloring.line_extraction import Drawing, EmptyDrawingError, Polarity, Source, read_drawing
from linewash.coloring.model_loader import Network
from linewash.coloring.openraster import encode_png, to_ora, to_png
from linewash.coloring.paper import Background
from linewash.coloring.reference import MAX_COLORS, Reference, from_colors, read_reference
from linewash.coloring.svg_writer import to_svg
from linewash.samples.sketches import draw, home, on_transparent, pet, sea
from training.errors import WorkError

# Longer side, px, of the line map and of the previews. It is small so that a stroke is answered at once, and
# the same for downloads, so that the file looks like the preview.
PREVIEW_SIDE = 384
PAGE_SIDE = 1024  # px of the longer side of the page's canvas
MAX_DRAWING_PIXELS = 1 << 22  # of a drawing to be coloured; the page sends a quarter of this
MAX_FILE_PIXELS = 25_000_000  # of an opened image; common phone photos have half of this
MAX_VARIANTS = 8
EXAMPLES = {"home": home, "sea": sea, "pet": pet}


class ColorizeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A drawing to be coloured.

    drawing: an image file, dark lines on white. hints: an image file of the same size, colour strokes on
    transparency. reference: an image file whose colours are wanted. JSON carries these in base64.
    colors: wanted colours, such as "#f4c542", with weights; in place of `reference`.
    background, vivid: see `Settings`.
    """

    drawing: bytes
    hints: bytes | None = None
    variants: Annotated[int, msgspec.Meta(ge=1, le=MAX_VARIANTS)] = 1
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**31)] = 0
    background: Background = "auto"
    reference: bytes | None = None
    colors: Annotated[list[tuple[str, float]], msgspec.Meta(min_length=1, max_length=MAX_COLORS)] | None = (
        None
    )
    vivid: Annotated[float, msgspec.Meta(ge=0, le=MAX_VIVID)] = 0.0

    def __post_init__(self) -> None:
        if self.reference is not None and self.colors is not None:
            raise ValueError("reference and colors exclude each other")


class DownloadRequest(ColorizeRequest, frozen=True, forbid_unknown_fields=True):
    """One of the colourings as a file.

    variant: counts from 0. lines: whether the PNG or the SVG has the lines over the colours.
    """

    variant: Annotated[int, msgspec.Meta(ge=0, lt=MAX_VARIANTS)] = 0
    format: Literal["png", "ora", "svg"] = "png"
    lines: bool = True


@dataclasses.dataclass(frozen=True)
class Previews:
    """Colourings for the page.

    pictures: PNGs with a longer side of `PREVIEW_SIDE` pixels, the likeliest first. A drawing without lines
      has none.
    background: what became of the paper around the figures; None without pictures.
    """

    pictures: list[bytes]
    background: Background | None = None


def page_settings(network: Network) -> dict[str, object]:
    """Returns what the page needs to know about the network, as JSON values."""
    return {
        "palette": [f"#{bytes(color).hex()}" for color in network.palette.colors],
        "names": color_names(network.palette),
        "hints": network.takes_hints,
        "reference": network.takes_reference,
        "vivid": network.prior is not None,
        "side": PAGE_SIDE,
        "examples": list(EXAMPLES),
    }


def render_previews(request: ColorizeRequest, network: Network) -> Previews:
    """Colours a drawing for the page.

    Raises:
      WorkError: an image of the request cannot be used.
    """
    try:
        drawing = _read(request)
    except EmptyDrawingError:
        return Previews([])
    height, width = drawing.line_map.shape
    # The image is shrunk to the size of the line map; the browser enlarges the result.
    small = cv2.resize(drawing.rgb, (width, height), interpolation=cv2.INTER_AREA)
    drawing = dataclasses.replace(drawing, rgb=small)
    images = _colorize(request, drawing, network)
    return Previews([to_png(image, lines=False) for image in images], images[0].background_mode)


def render_download(request: DownloadRequest, network: Network) -> bytes:
    """Returns one colouring at the drawing's full size, as PNG, OpenRaster or SVG.

    Raises:
      EmptyDrawingError: the drawing has no lines.
      WorkError: an image of the request cannot be used, or the network gives fewer variants.
    """
    images = _colorize(request, _read(request), network)
    if request.variant >= len(images):
        raise WorkError("this colouring no longer exists: choose another")
    image = images[request.variant]
    if request.format == "ora":
        return to_ora(image)
    return to_svg(image, request.lines) if request.format == "svg" else to_png(image, request.lines)


def extract_lines(data: bytes, source: Source = "drawing", lines: Polarity = "auto") -> bytes:
    """Returns the lines of an image file, without paper and shading, as a PNG of ink on transparency.

    Args:
      data: the bytes of the file. source, lines: see `read_drawing`.

    Returns:
      A PNG whose longer side is at most `PAGE_SIDE` pixels.

    Raises:
      WorkError: the image cannot be used or has no lines.
    """
    drawing = read_drawing(data, lines, source, max_pixels=MAX_FILE_PIXELS)
    height, width = drawing.shape
    scale = PAGE_SIDE / max(height, width)
    if source == "drawing":
        scale = min(1.0, scale)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if source == "photo":  # a photo has edges but no ink, so the edges are drawn with a pen
        enlarged = cv2.resize(drawing.line_map * np.float32(1), size, interpolation=cv2.INTER_LINEAR)
        alpha = np.clip(2 * enlarged, 0, 1)
    else:
        alpha = cv2.resize(drawing.line_opacity, size, interpolation=cv2.INTER_AREA)
    rgba = np.empty((*alpha.shape, 4), np.uint8)
    rgba[..., :3] = LINE_COLOR
    rgba[..., 3] = np.rint(alpha * 255)
    return encode_png(rgba)


@cache
def render_example(name: str) -> bytes:
    """Returns one of `EXAMPLES` as a PNG of ink on transparency.

    Raises:
      KeyError: there is no example of this name.
    """
    return encode_png(on_transparent(draw(EXAMPLES[name], PAGE_SIDE, PAGE_SIDE * 3 // 4, 4, seed=3)))


def warm_up(network: Network) -> None:
    """Colours an example, so that the first request is answered as fast as the others."""
    render_previews(ColorizeRequest(render_example("home")), network)


def _read(request: ColorizeRequest) -> Drawing:
    return read_drawing(request.drawing, "dark", max_side=PREVIEW_SIDE, max_pixels=MAX_DRAWING_PIXELS)


def _colorize(request: ColorizeRequest, drawing: Drawing, network: Network) -> list[ColoredImage]:
    hints = None if request.hints is None else read_hints(request.hints, MAX_DRAWING_PIXELS)
    settings = Settings(
        variants=request.variants,
        seed=request.seed,
        background=request.background,
        reference=_find_reference(request),
        vivid=request.vivid,
    )
    return colorize(drawing, network, settings, hints)


def _find_reference(request: ColorizeRequest) -> Reference | None:
    if request.colors is not None:
        return from_colors(request.colors)
    return None if request.reference is None else _read_reference(request.reference)


@lru_cache(maxsize=4)
def _read_reference(data: bytes) -> Reference:
    """Reads the picture of a reference, which the page sends again with each stroke."""
    try:
        return read_reference(data, MAX_FILE_PIXELS)
    except WorkError as e:
        raise WorkError(f"the reference cannot be used: {e}") from None
