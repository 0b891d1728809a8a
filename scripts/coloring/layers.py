"""A coloured picture as files: PNG, one layer a colour, OpenRaster for painting programs, a palette.

Everything is made in memory, so that what is written is written whole.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

import numpy as np
from PIL import Image

from coloring.picture import LINE, Picture
from tfrecords_schema import Palette

THUMBNAIL = 256  # px at most, as OpenRaster has it
GPL_COLUMNS = 9
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest a ZIP can say: the same picture gives the same bytes


@dataclass(frozen=True)
class Layer:
    """One colour's pixels, or the lines: uint8 [H, W, 4], transparent elsewhere."""

    name: str
    rgba: np.ndarray


def layers(picture: Picture) -> list[Layer]:
    """The lines, then a layer for each colour that occurs, the commonest last: from top to bottom.

    The colours' layers are opaque or transparent, nothing between, and together cover each pixel once.
    """
    labels, counts = np.unique(picture.labels, return_counts=True)
    order = labels[np.argsort(counts, kind="stable")]
    return [lines_layer(picture), *(_color_layer(picture, int(label)) for label in order)]


def lines_layer(picture: Picture) -> Layer:
    """The drawing's ink, on nothing."""
    alpha = np.rint(picture.drawing.ink * 255).astype(np.uint8)
    return Layer("lines", _masked(LINE, alpha))


def color_name(palette: Palette, label: int) -> str:
    """A name that sorts and says the colour: 07-00aa55."""
    digits = len(str(len(palette) - 1))
    return f"{label:0{digits}d}-{bytes(palette.colors[label]).hex()}"


def to_png(picture: Picture, overlay: bool = False) -> bytes:
    """The picture as a PNG of its palette's colours, or with `overlay` in RGB with the lines on top."""
    if overlay or len(picture.palette) > 256:
        return encode_png(picture.rgb(overlay))
    image = Image.fromarray(picture.labels.astype(np.uint8))
    image.putpalette(picture.palette.rgb.tobytes())
    return _png(image)


def to_ora(picture: Picture) -> bytes:
    """An OpenRaster file (version 0.0.5 of its specification): what Krita and GIMP open with its layers."""
    stack = layers(picture)
    height, width = picture.labels.shape
    merged = Image.fromarray(picture.rgb(overlay=True))
    thumbnail = merged.copy()
    thumbnail.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        # First and stored, so that the file's type stands at a known place in it.
        _put(archive, "mimetype", b"image/openraster", zipfile.ZIP_STORED)
        _put(archive, "stack.xml", _stack_xml(stack, width, height), zipfile.ZIP_DEFLATED)
        for index, layer in enumerate(stack):
            _put(archive, f"data/layer{index}.png", encode_png(layer.rgba), zipfile.ZIP_STORED)
        _put(archive, "mergedimage.png", _png(merged), zipfile.ZIP_STORED)
        _put(archive, "Thumbnails/thumbnail.png", _png(thumbnail), zipfile.ZIP_STORED)
    return file.getvalue()


def to_gpl(palette: Palette) -> bytes:
    """The palette as GIMP, Krita and Inkscape read it; preprocess takes it as --palette, too."""
    rows = [f"{r:3d} {g:3d} {b:3d}\t{bytes((r, g, b)).hex()}" for r, g, b in palette.colors]
    head = ["GIMP Palette", f"Name: linewash {palette.name}", f"Columns: {GPL_COLUMNS}", "#"]
    return ("\n".join([*head, *rows]) + "\n").encode()


def encode_png(pixels: np.ndarray) -> bytes:
    """The PNG file of uint8 [H, W, 3 or 4]."""
    return _png(Image.fromarray(pixels))


def _color_layer(picture: Picture, label: int) -> Layer:
    alpha = np.where(picture.labels == label, 255, 0).astype(np.uint8)
    return Layer(color_name(picture.palette, label), _masked(picture.palette.colors[label], alpha))


def _masked(color: tuple[int, int, int], alpha: np.ndarray) -> np.ndarray:
    rgba = np.zeros((*alpha.shape, 4), np.uint8)
    rgba[alpha > 0, :3] = color
    rgba[..., 3] = alpha
    return rgba


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _put(archive: zipfile.ZipFile, name: str, data: bytes, how: int) -> None:
    archive.writestr(zipfile.ZipInfo(name, _ZIP_DATE), data, how)


def _stack_xml(stack: list[Layer], width: int, height: int) -> bytes:
    rows = [
        f'    <layer name={quoteattr(layer.name)} src="data/layer{index}.png" x="0" y="0" opacity="1.0" '
        'visibility="visible" composite-op="svg:src-over"/>'
        for index, layer in enumerate(stack)
    ]
    head = f'<image version="0.0.5" w="{width}" h="{height}" xres="72" yres="72">'
    return "\n".join(
        ['<?xml version="1.0" encoding="UTF-8"?>', head, "  <stack>", *rows, "  </stack>", "</image>", ""]
    ).encode()
