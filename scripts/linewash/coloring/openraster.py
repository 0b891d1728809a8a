"""A coloured picture as files: PNG, one layer a colour, OpenRaster for painting programs, a palette.

Layers are made one at a time: all layers of a large page together would take gigabytes.
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

from linewash.coloring.colorize import LINE, Picture
from linewash.coloring.image_io import STRIP
from tfrecords_schema import Palette

THUMBNAIL = 256  # px at most, as OpenRaster has it
GPL_COLUMNS = 9
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest a ZIP can say: the same picture gives the same bytes


@dataclass(frozen=True)
class Layer:
    """One colour's pixels, or the lines: uint8 [H, W, 4], transparent elsewhere."""

    name: str
    rgba: np.ndarray


def layers(picture: Picture) -> Iterator[Layer]:
    """Yields the lines, then a layer for each colour that occurs, the commonest last: from top to bottom.

    The colours' layers are opaque or transparent, nothing between, and together cover each pixel once.
    """
    yield lines_layer(picture)
    for label in _labels_by_area(picture):
        yield _color_layer(picture, label)


def layer_names(picture: Picture) -> list[str]:
    """The names of `layers`, in the same order."""
    return ["lines", *(color_name(picture.palette, label) for label in _labels_by_area(picture))]


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
    """An OpenRaster file in memory: see `write_ora`."""
    file = io.BytesIO()
    write_ora(picture, file)
    return file.getvalue()


def write_ora(picture: Picture, file: IO[bytes], say: Callable[[str], None] | None = None) -> None:
    """Writes an OpenRaster file (version 0.0.5 of its specification): Krita and GIMP open it with its layers.

    Args:
      file: seekable, opened for writing.
      say: is told which layer comes next, if not None.
    """
    names = layer_names(picture)
    height, width = picture.labels.shape
    with zipfile.ZipFile(file, "w") as archive:
        # First and stored, so that the file's type stands at a known place in it.
        _put(archive, "mimetype", b"image/openraster", zipfile.ZIP_STORED)
        _put(archive, "stack.xml", _stack_xml(names, width, height), zipfile.ZIP_DEFLATED)
        for index, layer in enumerate(layers(picture)):
            if say:
                say(f"writing OpenRaster, layer {index + 1} of {len(names)}")
            _put_png(archive, f"data/layer{index}.png", Image.fromarray(layer.rgba))
        merged = Image.fromarray(picture.rgb(overlay=True))
        _put_png(archive, "mergedimage.png", merged)
        merged.thumbnail((THUMBNAIL, THUMBNAIL))
        _put_png(archive, "Thumbnails/thumbnail.png", merged)


def to_gpl(palette: Palette) -> bytes:
    """The palette as GIMP, Krita and Inkscape read it; preprocess takes it as --palette, too."""
    rows = [f"{r:3d} {g:3d} {b:3d}\t{bytes((r, g, b)).hex()}" for r, g, b in palette.colors]
    head = ["GIMP Palette", f"Name: linewash {palette.name}", f"Columns: {GPL_COLUMNS}", "#"]
    return ("\n".join([*head, *rows]) + "\n").encode()


def encode_png(pixels: np.ndarray) -> bytes:
    """The PNG file of uint8 [H, W, 3 or 4]."""
    return _png(Image.fromarray(pixels))


def _labels_by_area(picture: Picture) -> list[int]:
    """The labels that occur, the commonest last."""
    counts = np.zeros(len(picture.palette), np.int64)
    for top in range(0, len(picture.labels), STRIP):
        counts += np.bincount(picture.labels[top : top + STRIP].ravel(), minlength=len(counts))
    labels = np.flatnonzero(counts)
    return [int(label) for label in labels[np.argsort(counts[labels], kind="stable")]]


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


def _put_png(archive: zipfile.ZipFile, name: str, image: Image.Image) -> None:
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
