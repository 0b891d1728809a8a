"""Colours drawings with a trained network, without TensorFlow if the network is an ONNX export.

    from pathlib import Path

    from linewash.coloring import colorize, load, read_drawing, to_png

    drawing = read_drawing(Path("drawing.jpg").read_bytes())
    image = colorize(drawing, load())[0]  # load(RUN_OR_EXPORT) for a network of your own
    Path("colored.png").write_bytes(to_png(image))

`Settings` chooses the background, the decoding and the number of variants, and has the wanted colours, which
`read_reference` takes from a picture and `parse_colors` from a list; `read_hints` reads colour strokes for
the `hints` of `colorize`; `image.regions` are the regions with their likeliest colours, and
`image.recolor({region.number: (255, 136, 0)})` is the image with another colour of one of them; `STARTER` is
the directory of the network that is part of the package.

The modules in the order of the data flow: `image_io`, `svg_reader` and `transparency` (file to pixels),
`line_extraction` (pixels to lines, by `preprocess.lines.drawn`), `model_loader` (lines to scores),
`reference` (wanted colours to weights), `segmentation`, `gap_closing`, `flooding` and `paper` (lines to
areas), `label_decoding`, `hint_strokes` and `locks` (areas and scores to labels), `colorizer` (all of these),
`openraster`, `contours`, `svg_writer` and `output_paths` (files), `cli` (the command).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from linewash.coloring.colorizer import ColoredImage, Region, Settings, colorize
    from linewash.coloring.image_io import read_hints
    from linewash.coloring.line_extraction import Drawing, read_drawing
    from linewash.coloring.model_loader import STARTER, Network, load
    from linewash.coloring.openraster import to_ora, to_png
    from linewash.coloring.reference import Reference, parse_colors, read_reference
    from linewash.coloring.svg_writer import to_svg

__all__ = [
    "STARTER", "ColoredImage", "Drawing", "Network", "Reference", "Region", "Settings", "colorize", "load",
    "parse_colors", "read_drawing", "read_hints", "read_reference", "to_ora", "to_png", "to_svg",
]  # fmt: skip

_MODULES = {
    "STARTER": "model_loader",
    "ColoredImage": "colorizer",
    "Drawing": "line_extraction",
    "Network": "model_loader",
    "Reference": "reference",
    "Region": "colorizer",
    "Settings": "colorizer",
    "colorize": "colorizer",
    "load": "model_loader",
    "parse_colors": "reference",
    "read_drawing": "line_extraction",
    "read_hints": "image_io",
    "read_reference": "reference",
    "to_ora": "openraster",
    "to_png": "openraster",
    "to_svg": "svg_writer",
}


def __getattr__(name: str) -> object:
    """Imports a public name when it is first used, so that the commands can report missing packages."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
