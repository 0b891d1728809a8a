"""Draws a gallery: drawings, each beside what a network makes of it, with and without the wanted colours.

python scripts/make_gallery.py out/sketches/drawings openclipart/food/fruit/lemon.svg -o gallery.png

A coloured SVG is drawn in lines first, as preprocess does, and coloured twice: without help, and with its own
colours as the reference, if the network takes one. All other drawings are coloured once.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]

from linewash.arguments import Parser, at_least, local_path, run

from training.atomic_files import atomic_write
from training.errors import WorkError

if TYPE_CHECKING:
    import numpy as np
    from linewash.coloring import Network

SIDE = 168  # px of a picture in the gallery
SVG_SIDE = 640  # px of the longer side of an SVG that is drawn in lines
GAP = 14  # px


def make_parser() -> Parser:
    """Returns the parser of the command line."""
    parser = Parser("make_gallery", __doc__)
    add = parser.add_argument
    add("drawings", metavar="DRAWING", nargs="+", type=local_path, help="drawings, SVGs, or folders of them")
    add("-o", "--output", type=local_path, required=True, metavar="FILE", help="the picture to write, a PNG")
    add("--run", type=local_path, metavar="RUN", help="run or export of the network [the starter model]")
    add("--columns", type=at_least(1), default=3, help="drawings in a row [3]")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    return run(make_parser(), work, argv, extra="art")


def work(args: argparse.Namespace) -> int:
    """Colours the drawings and writes the gallery. Returns the exit code: 1 if a folder could not be listed.

    Raises:
      UsageError: there is no drawing, or no such file.
      WorkError: a drawing cannot be read, or the network.
    """
    from linewash.coloring import load
    from linewash.coloring.output_paths import find_drawings
    from PIL import Image

    inputs = find_drawings(args.drawings, [args.output])
    network = load(args.run) if args.run else load()
    rows = [color_drawing(drawing.path, network) for drawing in inputs.drawings]
    cells = max(map(len, rows))
    width, height = cells * SIDE + GAP, SIDE + GAP
    count = -(-len(rows) // args.columns)
    sheet = Image.new("RGB", (args.columns * width + GAP, count * height + GAP), "white")
    for index, pictures in enumerate(rows):
        left, top = GAP + index % args.columns * width, GAP + index // args.columns * height
        for number, pixels in enumerate(pictures):
            picture = Image.fromarray(pixels)
            picture.thumbnail((SIDE - 6, SIDE - 6))
            x = left + number * SIDE + (SIDE - picture.width) // 2
            sheet.paste(picture, (x, top + (SIDE - picture.height) // 2))
    with atomic_write(args.output) as temporary:
        sheet.quantize(200, dither=Image.Dither.NONE).save(temporary, "PNG", optimize=True)
    print(f"{len(rows)} drawings in {args.output}")
    for folder, reason in inputs.unlisted:
        print(f"make_gallery: {folder}: the folder could not be listed: {reason}", file=sys.stderr)
    if skipped := str(inputs.skipped):
        print(skipped)
    return WorkError.exit_code if inputs.unlisted else 0


def color_drawing(path: Path, network: Network) -> list[np.ndarray]:
    """Returns the drawing and its colourings, RGB, uint8 [H, W, 3] each.

    Raises:
      WorkError: the drawing cannot be read.
    """
    from linewash.coloring import Settings, colorize, read_drawing, read_reference
    from linewash.coloring.image_io import read_file

    data, told = read_file(path), [Settings()]
    if path.suffix.lower() == ".svg":
        data, colors = draw_lines(data)
        if network.takes_reference:
            told.append(Settings(reference=read_reference(colors)))
    try:
        drawing = read_drawing(data)
    except WorkError as e:
        raise WorkError(f"{path}: {e}") from e
    pictures = [colorize(drawing, network, settings)[0].rgb() for settings in told]
    return [_decode(data), *pictures]


def draw_lines(svg: bytes) -> tuple[bytes, bytes]:
    """Returns the lines of a coloured SVG and its colours on white, as PNGs of its own aspect.

    Raises:
      WorkError: the SVG cannot be drawn.
    """
    import cv2
    from linewash.coloring.openraster import encode_png

    from preprocess.rejects import Rejected
    from preprocess.svg import draw_pair, draw_picture

    try:
        height, width = _decode(draw_picture(svg, SVG_SIDE)).shape[:2]
        pair = draw_pair(svg, "squash", SVG_SIDE, SVG_SIDE)
    except Rejected as e:
        raise WorkError(f"the SVG cannot be drawn: {e}") from e
    lines, colors = (
        encode_png(cv2.resize(_decode(png), (width, height), interpolation=cv2.INTER_AREA)) for png in pair
    )
    return lines, colors


def _decode(data: bytes) -> np.ndarray:
    """Returns an image on white, RGB."""
    import io

    import numpy as np
    from PIL import Image

    image = Image.open(io.BytesIO(data)).convert("RGBA")
    return np.array(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB"))


if __name__ == "__main__":
    sys.exit(main())
