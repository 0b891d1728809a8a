"""Answers the web page's requests, without HTTP and without state."""

from __future__ import annotations

import dataclasses
from functools import cache, lru_cache
from typing import Annotated, Literal

import cv2
import msgspec
import numpy as np

from linewash.coloring import hint_strokes
from linewash.coloring.color_names import color_names
from linewash.coloring.colorizer import (
    LINE_COLOR,
    MAX_VIVID,
    ORIGIN_NAMES,
    Coloring,
    Origin,
    Settings,
    choose_colors,
)
from linewash.coloring.image_io import read_hints, read_image, read_pixels
from linewash.coloring.line_extraction import (
    Drawing,
    EmptyDrawingError,
    Polarity,
    Source,
    extract_drawing,
    read_drawing,
)
from linewash.coloring.model_loader import Network
from linewash.coloring.openraster import encode_png, to_ora, to_png
from linewash.coloring.paper import Background
from linewash.coloring.photo_detection import looks_like_photo
from linewash.coloring.reference import MAX_COLORS, Reference, from_colors, read_reference
from linewash.coloring.svg_writer import to_svg
from linewash.coloring.transparency import shrink_to
from linewash.samples.sketches import draw, home, on_transparent, pet, sea
from training.errors import WorkError

# Longer side, px, of the line map and of the maps of regions. It is small so that a stroke is answered at
# once, and the same for downloads, so that the file looks like the page.
PREVIEW_SIDE = 384
PAGE_SIDE = 1024  # px of the longer side of an empty page; lines are found in a drawing of at most this size
LINES_SIDE = 2048  # px of the longer side of an opened drawing
MAX_DRAWING_PIXELS = 1 << 22  # of a drawing to be coloured: a square of `LINES_SIDE`
MAX_FILE_PIXELS = 1 << 26  # of an opened image, as in `image_io`: phone cameras have up to 50 million
MAX_DOWNLOAD_PIXELS = 25_000_000
MAX_VARIANTS = 8
MAX_REPLACED = 1024  # colours that are replaced
NUM_LIKELIEST = 5
MIN_WEIGHT = 0.002  # of a colour of a reference
FAST_COMPRESSION = 1  # of PNGs: a map takes a millisecond, and the page is on the same machine or near it
EXAMPLES = {"home": home, "sea": sea, "pet": pet}

Show = Literal["picture", "colors", "lines"]
HexColor = Annotated[str, msgspec.Meta(pattern=r"^#[0-9a-fA-F]{6}\Z")]


class ColorizeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A drawing to be coloured.

    drawing: an image file, dark lines on white. The other images have its aspect ratio. JSON carries images
      in base64.
    hints: colour strokes on transparency.
    dividers: strokes on transparency that divide areas as lines do, but are not drawn.
    locked: the colours of an earlier colouring that stay, transparent where they are free; see
      `locks.find_kept`.
    replace: pairs of colours such as "#f4c542": at the end, each region of the first gets the second, but
      hints keep theirs.
    reference: an image file of any shape whose colours are wanted.
    colors: wanted colours, such as "#f4c542", with weights; in place of `reference`.
    background, vivid, reference_strength: see `Settings`.
    """

    drawing: bytes
    hints: bytes | None = None
    dividers: bytes | None = None
    locked: bytes | None = None
    replace: Annotated[list[tuple[HexColor, HexColor]], msgspec.Meta(max_length=MAX_REPLACED)] = []
    variants: Annotated[int, msgspec.Meta(ge=1, le=MAX_VARIANTS)] = 1
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**31)] = 0
    background: Background = "auto"
    reference: bytes | None = None
    colors: Annotated[list[tuple[str, float]], msgspec.Meta(min_length=1, max_length=MAX_COLORS)] | None = (
        None
    )
    vivid: Annotated[float, msgspec.Meta(ge=0, le=MAX_VIVID)] = 0.0
    reference_strength: Annotated[float, msgspec.Meta(ge=0, le=1)] = Settings.reference_strength

    def __post_init__(self) -> None:
        if self.reference is not None and self.colors is not None:
            raise ValueError("reference and colors exclude each other")


class DownloadRequest(ColorizeRequest, frozen=True, forbid_unknown_fields=True):
    """One of the colourings as a file.

    variant: counts from 0.
    show: the colours under the lines, the colours alone, or the lines alone.
    width, height: the size of the file in pixels, of the drawing's aspect ratio; None for the drawing's own.
    """

    variant: Annotated[int, msgspec.Meta(ge=0, lt=MAX_VARIANTS)] = 0
    format: Literal["png", "ora", "svg"] = "png"
    show: Show = "picture"
    width: Annotated[int, msgspec.Meta(ge=1)] | None = None
    height: Annotated[int, msgspec.Meta(ge=1)] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height belong together")


class Preview(msgspec.Struct, frozen=True):
    """Colourings for the page, which paints them itself.

    regions: a PNG at the size of the line map; the region of a pixel is red + 256 green + 65536 blue, and
      indexes the tables. None if the drawing has no lines; then the tables are empty.
    areas: likewise the areas between lines, each of which one hint stroke would fill.
    colors: for each variant, the likeliest first, the colour of each region such as "#f4c542", or None where
      the background is transparent.
    origins: what decided the colour of each region.
    likeliest: the likeliest colours of each region with their probabilities.
    background: what became of the paper around the figures.
    """

    regions: bytes | None = None
    areas: bytes | None = None
    colors: list[list[str | None]] = []
    origins: list[Origin] = []
    likeliest: list[list[tuple[str, float]]] = []
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


def color_preview(request: ColorizeRequest, network: Network) -> Preview:
    """Colours a drawing for the page.

    Raises:
      UsageError: the network takes no reference, or a colour of the reference is wrong.
      WorkError: an image of the request cannot be used.
    """
    try:
        coloring = _choose_colors(request, network)
    except EmptyDrawingError:
        return Preview()
    segmentation = coloring.segmentation
    hex_colors = [_to_hex(color) for color in coloring.palette.colors]
    is_left_out = coloring.is_left_out.tolist()
    colors = [
        [
            None if left_out else hex_colors[label]
            for label, left_out in zip(labels.tolist(), is_left_out, strict=True)
        ]
        for labels in coloring.labels
    ]
    # The colour of a region comes first; another may be likelier, see `label_decoding.choose_colors`.
    ranks = segmentation.probabilities.copy()
    ranks[np.arange(len(ranks)), segmentation.choices] += 1
    order = np.argsort(-ranks, axis=1, kind="stable")[:, :NUM_LIKELIEST]
    probabilities = np.take_along_axis(segmentation.probabilities, order, 1)
    likeliest = [
        [
            (hex_colors[label], round(share, 4))
            for label, share in zip(labels, shares, strict=True)
            if share > 0
        ]
        for labels, shares in zip(segmentation.colors[order].tolist(), probabilities.tolist(), strict=True)
    ]
    return Preview(
        _encode_numbers(segmentation.regions),
        _encode_numbers(coloring.areas),
        colors,
        [ORIGIN_NAMES[origin] for origin in segmentation.origin_of_regions.tolist()],
        likeliest,
        coloring.background,
    )


def render_download(request: DownloadRequest, network: Network) -> bytes:
    """Returns one colouring as PNG, OpenRaster or SVG.

    Raises:
      EmptyDrawingError: the drawing has no lines.
      UsageError: the network takes no reference, or a colour of the reference is wrong.
      WorkError: an image of the request cannot be used, the size does not fit the drawing, or the network
        gives fewer variants.
    """
    drawing = _read(request)
    height, width = _download_shape(request, drawing)
    coloring = _choose_colors(request, network, drawing)
    if request.variant >= len(coloring.labels):
        raise WorkError("this colouring no longer exists: choose another")
    image = coloring.image(request.variant, drawing.resized(height, width))
    lines, colors = request.show != "colors", request.show != "lines"
    if request.format == "ora":
        return to_ora(image, lines, colors)
    if request.format == "svg":
        return to_svg(image, lines, colors)
    return to_png(image, lines, colors)


def _download_shape(request: DownloadRequest, drawing: Drawing) -> tuple[int, int]:
    """Returns height and width of the file.

    Raises:
      WorkError: they do not fit the drawing, or are too large.
    """
    if request.height is None or request.width is None:
        return drawing.shape
    height, width = request.height, request.width
    if not hint_strokes.has_same_aspect(height, width, *drawing.shape):
        raise WorkError(
            f"the picture is to be {width} x {height}, but the drawing is {drawing.shape[1]} x "
            f"{drawing.shape[0]}: choose a size of the same shape"
        )
    if height * width > MAX_DOWNLOAD_PIXELS:
        raise WorkError(
            f"the picture is to be {width} x {height}, over {MAX_DOWNLOAD_PIXELS:,} pixels: choose a smaller "
            "size"
        )
    return height, width


@dataclasses.dataclass(frozen=True)
class ExtractedLines:
    """The lines of an opened image.

    png: ink on transparency, whose longer side is at most `LINES_SIDE` pixels.
    width, height: of the upright image.
    looks_like: what the image seems to be, whatever it was taken for.
    """

    png: bytes
    width: int
    height: int
    looks_like: Source


def extract_lines(
    data: bytes, source: Literal["auto", "drawing", "photo"] = "auto", lines: Polarity = "auto"
) -> ExtractedLines:
    """Returns the lines of an image file, without paper and shading.

    Args:
      data: the bytes of the file.
      source: as for `read_drawing`. With "auto" it is taken for a drawing, and one that has no lines but
        looks like a photo is not an error.
      lines: see `read_drawing`.

    Raises:
      WorkError: the image cannot be used or has no lines.
    """
    rgb = read_image(data, MAX_FILE_PIXELS)
    looks_like: Source = "photo" if looks_like_photo(rgb) else "drawing"
    height, width = rgb.shape[:2]
    try:
        ink = _find_photo_ink(rgb) if source == "photo" else _find_ink(rgb, lines)
    except EmptyDrawingError:
        if source != "auto" or looks_like != "photo":
            raise
        ink = np.zeros(shrink_to(rgb, LINES_SIDE).shape[:2], np.float32)
    rgba = np.empty((*ink.shape, 4), np.uint8)
    rgba[..., :3] = LINE_COLOR
    rgba[..., 3] = np.rint(ink * 255)
    return ExtractedLines(encode_png(rgba, FAST_COMPRESSION), width, height, looks_like)


def _find_ink(rgb: np.ndarray, lines: Polarity) -> np.ndarray:
    """Returns the ink on each pixel of a drawing, which is shrunk to `LINES_SIDE`: float32 [h, w]."""
    drawing = extract_drawing(rgb, lines)
    return dataclasses.replace(drawing, rgb=shrink_to(rgb, LINES_SIDE)).line_opacity


def _find_photo_ink(rgb: np.ndarray) -> np.ndarray:
    """Returns the edges of a photo as if drawn with a pen: float32 [h, w], 0 to 1."""
    line_map = extract_drawing(rgb, source="photo").line_map
    height, width = rgb.shape[:2]
    scale = float(np.clip(max(height, width), PAGE_SIDE, LINES_SIDE)) / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    enlarged = cv2.resize(line_map * np.float32(1), size, interpolation=cv2.INTER_LINEAR)
    return np.clip(2 * enlarged, 0, 1)


def reference_colors(data: bytes, network: Network) -> list[tuple[str, float]]:
    """Returns the palette colours of a picture and their weights, which add up to 1, the heaviest first.

    Raises:
      UsageError: the network takes no reference.
      WorkError: the picture cannot be used.
    """
    network.require_reference()
    weights = _read_reference(data).weights(network.palette)
    labels = np.flatnonzero(weights > MIN_WEIGHT)
    labels = labels[np.argsort(-weights[labels], kind="stable")]
    total = float(weights[labels].sum())
    return [(_to_hex(network.palette.colors[label]), float(weights[label]) / total) for label in labels]


@cache
def render_example(name: str) -> bytes:
    """Returns one of `EXAMPLES` as a PNG of ink on transparency.

    Raises:
      KeyError: there is no example of this name.
    """
    return encode_png(on_transparent(draw(EXAMPLES[name], PAGE_SIDE, PAGE_SIDE * 3 // 4, 4, seed=3)))


def warm_up(network: Network) -> None:
    """Colours an example, so that the first request is answered as fast as the others."""
    color_preview(ColorizeRequest(render_example("home")), network)


def _read(request: ColorizeRequest) -> Drawing:
    drawing = read_drawing(
        request.drawing,
        "dark",
        max_side=PREVIEW_SIDE,
        max_pixels=MAX_DRAWING_PIXELS,
        seen_side=PAGE_SIDE,
    )
    if request.dividers is None:
        return drawing
    dividers = read_hints(request.dividers, MAX_DRAWING_PIXELS, "dividers")
    hint_strokes.check_shape("dividers", dividers, *drawing.shape, "draw them over the drawing itself")
    return drawing.with_dividers(dividers)


def _choose_colors(request: ColorizeRequest, network: Network, drawing: Drawing | None = None) -> Coloring:
    """Chooses the colours of a request's drawing; `drawing` is that drawing if it has been read."""
    hints = None if request.hints is None else read_hints(request.hints, MAX_DRAWING_PIXELS)
    settings = Settings(
        variants=request.variants,
        seed=request.seed,
        background=request.background,
        reference=_find_reference(request),
        vivid=request.vivid,
        reference_strength=request.reference_strength,
    )
    locked = None if request.locked is None else _read_locked(request.locked)
    coloring = choose_colors(drawing or _read(request), network, settings, hints, locked)
    return coloring.replace_colors({_parse_hex(old): _parse_hex(new) for old, new in request.replace})


def _read_locked(data: bytes) -> np.ndarray:
    try:
        return read_pixels(data, MAX_DRAWING_PIXELS)
    except WorkError as e:
        raise WorkError(f"the locked colours cannot be used: {e}") from None


def _encode_numbers(numbers: np.ndarray) -> bytes:
    """Returns a map of numbers, int32 [H, W], as the colours of a PNG. The page smooths the borders."""
    rgb = np.stack([numbers & 255, numbers >> 8 & 255, numbers >> 16], axis=2).astype(np.uint8)
    return encode_png(rgb, FAST_COMPRESSION)


def _to_hex(color: tuple[int, int, int]) -> str:
    return f"#{bytes(color).hex()}"


def _parse_hex(text: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(text[1:])
    return red, green, blue


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
