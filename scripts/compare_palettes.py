"""How far from the photographs each palette leaves them: mean CIEDE2000, and a picture.

python scripts/compare_palettes.py --images PHOTOS --palettes grid:3 kmeans:27 kmeans:64 --out palettes.png
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from linewash.coloring.arguments import Parser, at_least, local_path, local_path_text, run

from training.atomic_files import atomic_write
from training.errors import UsageError, WorkError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image as Picture

    from tfrecords_schema import Palette

TILE, GAP, HEAD = 192, 8, 40


def pixels(paths: list[Path]) -> Iterator[np.ndarray]:
    """Yields what the default recipe makes of each usable photograph, uint8 [S, S, 3]."""
    from preprocess.recipe import DEFAULT
    from preprocess.rejects import Rejected
    from preprocess.transform import to_pixels

    for path in paths:
        try:
            yield to_pixels(path.read_bytes(), DEFAULT)
        except Rejected:
            continue


def make_palette(name: str, paths: list[Path]) -> Palette:
    """The palette that `name` asks for: grid:N, kmeans:K or a file.

    Raises:
      UsageError: N or K is no number.
      PaletteError, SchemaError, ValueError: it cannot be made.
    """
    from preprocess import palettes
    from preprocess.recipe import DEFAULT
    from preprocess.sources import Image
    from tfrecords_schema import Palette

    kind, _, number = name.partition(":")
    if kind in ("grid", "kmeans") and not (number.isascii() and number.isdecimal()) and name != "grid":
        raise UsageError(f"--palettes {name}: type grid:3, kmeans:27, or a file")
    if kind == "grid":
        return Palette.grid(int(number or 3))
    if kind == "kmeans":
        return palettes.learn_from([Image(str(p), str(p)) for p in paths], DEFAULT, int(number), seed=0)
    return palettes.load(name)


def difference(images: list[np.ndarray], palette: Palette) -> float:
    """Mean CIEDE2000 (Sharma et al. 2005) between `images` and their posterized copies."""
    return sum(_difference(image, palette) for image in images) / len(images)


def _difference(image: np.ndarray, palette: Palette) -> float:
    from preprocess.posterize import to_labels
    from training.metrics.ciede2000 import ciede2000
    from training.metrics.color_spaces import to_cielab

    posterized = palette.to_rgb(to_labels(image, palette))
    return float(ciede2000(to_cielab(image), to_cielab(posterized)).mean())


def draw(images: list[np.ndarray], found: dict[str, tuple[Palette, float]]) -> Picture.Image:
    """A row a photograph: itself, then posterized with each palette; the palette's colours below its name."""
    from PIL import Image as Picture
    from PIL import ImageDraw, ImageFont

    from preprocess.posterize import to_labels

    columns = 1 + len(found)
    sheet = Picture.new(
        "RGB", (GAP + columns * (TILE + GAP), HEAD + GAP + len(images) * (TILE + GAP)), (250, 249, 246)
    )
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for row, image in enumerate(images):
        tiles = [image] + [palette.to_rgb(to_labels(image, palette)) for palette, _ in found.values()]
        for column, tile in enumerate(tiles):
            scaled = Picture.fromarray(tile).resize((TILE, TILE), Picture.Resampling.NEAREST)
            sheet.paste(scaled, (GAP + column * (TILE + GAP), HEAD + row * (TILE + GAP)))
    pen.text((GAP, 6), "photograph", (60, 60, 66), font)
    for column, (name, (palette, error)) in enumerate(found.items(), 1):
        left = GAP + column * (TILE + GAP)
        pen.text((left, 6), f"{name}, off by {error:.2f}", (60, 60, 66), font)
        step = TILE / len(palette)
        for i, color in enumerate(palette.colors):
            pen.rectangle((left + i * step, 26, left + (i + 1) * step, 35), fill=color)
    return sheet


def _palette_name(text: str) -> str:
    """A palette as it is typed: with `~` expanded, if it is a file."""
    return text if text.partition(":")[0] in ("grid", "kmeans") else local_path_text(text)


def parser() -> Parser:
    """Every flag."""
    made = Parser("compare_palettes", __doc__)
    add = made.add_argument
    add("--images", type=local_path, required=True, help="a folder of photographs")
    add(
        "--palettes", type=_palette_name, nargs="+", default=["grid:3", "kmeans:27", "kmeans:64"],
        metavar="PALETTE", help="grid:N, kmeans:K, or a file [grid:3 kmeans:27 kmeans:64]",
    )  # fmt: skip
    add(
        "-o", "--out", "--output", type=local_path, metavar="PICTURE.png",
        help="where to draw the first --rows of them",
    )  # fmt: skip
    add("--rows", type=at_least(1), default=3, help="photographs in the picture [3]")
    return made


def main(words: list[str] | None = None) -> int:
    """Answers the command line; returns the exit code."""
    return run(parser(), work, words, extra="all")


def work(args: argparse.Namespace) -> int:
    """Prints the table and draws the picture; 0.

    Raises:
      UsageError: a folder or a name that cannot be meant.
      WorkError: no usable photograph, or a palette that cannot be made.
    """
    from bench.datasets import list_images
    from PIL import Image as Picture

    from preprocess import palettes
    from tfrecords_schema import SchemaError

    if args.out and args.out.suffix.lower() not in Picture.registered_extensions():
        raise UsageError(f"--out {args.out}: type a name that ends in .png")
    paths = list_images(args.images)[: palettes.SAMPLE_IMAGES]
    images = list(pixels(paths))
    if not images:
        raise WorkError(f"no usable photograph in {args.images}")
    found: dict[str, tuple[Palette, float]] = {}
    for name in args.palettes:
        try:
            palette = make_palette(name, paths)
        except (palettes.PaletteError, SchemaError, ValueError) as e:
            raise WorkError(str(e)) from None
        found[name] = palette, difference(images, palette)
        print(f"{name:12} {len(palette):5} colours   mean CIEDE2000 {found[name][1]:.2f}", flush=True)
    if args.out:
        spread = images[:: max(1, len(images) // args.rows)][: args.rows]
        with atomic_write(args.out) as temporary:
            draw(spread, found).save(temporary)
    return 0


if __name__ == "__main__":
    sys.exit(main())
