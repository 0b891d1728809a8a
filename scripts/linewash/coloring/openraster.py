"""Encodes coloured images: PNG, OpenRaster with one layer per colour, and GIMP palettes.

Layers are generated one at a time, because all layers of a large image together would take gigabytes.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO
from xml.sax.saxutils import quoteattr

import numpy as np
from PIL import Image

from linewash.coloring.color_names import color_names, layer_name
from linewash.coloring.colorizer import LINE_COLOR, ColoredImage
from linewash.coloring.transparency import STRIP_ROWS
from tfrecords_schema import Palette

THUMBNAIL_SIDE = 256  # px, the maximum of the OpenRaster specification
GPL_COLUMNS = 8
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest ZIP date, fixed so that equal images give equal bytes


@dataclass(frozen=True)
class Layer:
    """The pixels of one colour, or the lines: uint8 [H, W, 4], transparent elsewhere."""

    name: str
    rgba: np.ndarray


def layers(image: ColoredImage, lines: bool = True, colors: bool = True) -> Iterator[Layer]:
    """Yields the layers from top to bottom: the lines, then one layer per colour, the most frequent last.

    Each pixel is opaque in exactly one of the colour layers and transparent in all others, or transparent in
    all of them on a transparent background.

    Args:
      lines, colors: whether there is a layer of the lines, and whether there are layers of colours.
    """
    if lines:
        yield lines_layer(image)
    if colors:
        for label in labels_by_frequency(image):
            yield _color_layer(image, label)


def layer_names(image: ColoredImage, lines: bool = True, colors: bool = True) -> list[str]:
    """Returns the names of `layers`, in the same order."""
    names = ["lines"] if lines else []
    if colors:
        names += (layer_name(image.palette, label) for label in labels_by_frequency(image))
    return names


def lines_layer(image: ColoredImage) -> Layer:
    """Returns the drawing's lines on transparency."""
    alpha = np.rint(image.drawing.line_opacity * 255).astype(np.uint8)
    return Layer("lines", _fill(LINE_COLOR, alpha))


def to_png(image: ColoredImage, lines: bool = True, colors: bool = True) -> bytes:
    """Encodes a coloured image as a PNG, with transparency if `image.background` is given.

    Args:
      lines: draw the lines over the colours. Without them, the PNG has the palette of the image, if that has
        at most 255 colours (and transparency is one more).
      colors: without them, the PNG has the lines on transparency.
    """
    transparent = len(image.palette)
    if lines or not colors or transparent > 255:
        return encode_png(_merged(image, lines, colors))
    labels = image.labels.astype(np.uint8)
    if image.background is None:
        png = Image.fromarray(labels)
        png.putpalette(image.palette.rgb.tobytes())
        return _save_png(png)
    labels[image.background] = transparent
    png = Image.fromarray(labels)
    png.putpalette(image.palette.rgb.tobytes() + bytes(3))
    return _save_png(png, transparency=transparent)


def to_ora(image: ColoredImage, lines: bool = True, colors: bool = True) -> bytes:
    """Encodes a coloured image as an OpenRaster file; see `write_ora`."""
    file = io.BytesIO()
    write_ora(image, file, lines=lines, colors=colors)
    return file.getvalue()


def write_ora(
    image: ColoredImage,
    file: IO[bytes],
    report: Callable[[str], None] | None = None,
    lines: bool = True,
    colors: bool = True,
) -> None:
    """Writes an OpenRaster file (specification 0.0.5), which Krita and GIMP open with its layers.

    Args:
      file: a seekable binary file, opened for writing.
      report: is called with a description of each layer before it is written.
      lines, colors: see `layers`.
    """
    names = layer_names(image, lines, colors)
    height, width = image.labels.shape
    with zipfile.ZipFile(file, "w") as archive:
        # First and uncompressed, so that the type of the file is at a fixed position.
        _write_entry(archive, "mimetype", b"image/openraster", zipfile.ZIP_STORED)
        _write_entry(archive, "stack.xml", _stack_xml(names, width, height), zipfile.ZIP_DEFLATED)
        for index, layer in enumerate(layers(image, lines, colors)):
            if report:
                report(f"writing OpenRaster, layer {index + 1} of {len(names)}")
            _write_png_entry(archive, f"data/layer{index}.png", Image.fromarray(layer.rgba))
        merged = Image.fromarray(_merged(image, lines, colors))
        _write_png_entry(archive, "mergedimage.png", merged)
        merged.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
        _write_png_entry(archive, "Thumbnails/thumbnail.png", merged)


def _merged(image: ColoredImage, lines: bool, colors: bool) -> np.ndarray:
    """Returns the lines and the colours as they are seen together: uint8 [H, W, 3], or 4 if not opaque."""
    if not colors:
        return lines_layer(image).rgba
    return image.rgb(lines) if image.background is None else image.rgba(lines)


def to_gpl(palette: Palette) -> bytes:
    """Encodes a palette for GIMP, Krita and Inkscape, and for --palette of preprocess."""
    rows = [
        f"{r:3d} {g:3d} {b:3d}\t{name} {bytes((r, g, b)).hex()}"
        for (r, g, b), name in zip(palette.colors, color_names(palette), strict=True)
    ]
    head = ["GIMP Palette", f"Name: linewash {palette.name}", f"Columns: {GPL_COLUMNS}", "#"]
    return ("\n".join([*head, *rows]) + "\n").encode()


def encode_png(pixels: np.ndarray, compress_level: int = 6) -> bytes:
    """Encodes uint8 [H, W, 3 or 4] as a PNG; a lower level of compression, from 0, is faster."""
    return _save_png(Image.fromarray(pixels), compress_level=compress_level)


def labels_by_frequency(image: ColoredImage) -> list[int]:
    """Returns the labels that occur outside of a transparent background, the most frequent last."""
    counts = np.zeros(len(image.palette), np.int64)
    for top in range(0, len(image.labels), STRIP_ROWS):
        rows = slice(top, top + STRIP_ROWS)
        labels = image.labels[rows]
        if image.background is not None:
            labels = labels[~image.background[rows]]
        counts += np.bincount(labels.ravel(), minlength=len(counts))
    labels = np.flatnonzero(counts)
    return [int(label) for label in labels[np.argsort(counts[labels], kind="stable")]]


def _color_layer(image: ColoredImage, label: int) -> Layer:
    alpha = np.where(image.labels == label, 255, 0).astype(np.uint8)
    if image.background is not None:
        alpha[image.background] = 0
    return Layer(layer_name(image.palette, label), _fill(image.palette.colors[label], alpha))


def _fill(color: tuple[int, int, int], alpha: np.ndarray) -> np.ndarray:
    rgba = np.zeros((*alpha.shape, 4), np.uint8)
    rgba[alpha > 0, :3] = color
    rgba[..., 3] = alpha
    return rgba


def _save_png(image: Image.Image, **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def _write_entry(archive: zipfile.ZipFile, name: str, data: bytes, compression: int) -> None:
    archive.writestr(zipfile.ZipInfo(name, _ZIP_DATE), data, compression)


def _write_png_entry(archive: zipfile.ZipFile, name: str, image: Image.Image) -> None:
    with archive.open(zipfile.ZipInfo(name, _ZIP_DATE), "w") as entry:
        image.save(entry, "PNG")


def _stack_xml(names: list[str], width: int, height: int) -> bytes:
    rows = [
        f'    <layer name={quoteattr(name)} src="data/layer{index}.png" x="0" y="0" opacity="1.0" '
        'visibility="visible" composite-op="svg:src-over"/>'
        for index, name in enumerate(names)
    ]
    head = f'<image version="0.0.5" w="{width}" h="{height}" xres="72" yres="72">'
    return "\n".join(
        ['<?xml version="1.0" encoding="UTF-8"?>', head, "  <stack>", *rows, "  </stack>", "</image>", ""]
    ).encode()
