"""Compares palettes by the mean CIEDE2000 between images and their posterized copies.

python scripts/compare_palettes.py --images IMAGES --palettes linewash grid:3 kmeans:27 -o palettes.png
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from linewash.arguments import Parser, at_least, local_path, local_path_text, run

from training.atomic_files import atomic_write
from training.errors import UsageError, WorkError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from tfrecords_schema import Palette

TILE, GAP, HEADER = 192, 8, 40  # px


def read_pixels(paths: list[Path]) -> Iterator[np.ndarray]:
    """Yields the pixels of each image that the default recipe accepts, resized to uint8 [S, S, 3]."""
    from preprocess.pixels import to_pixels
    from preprocess.recipe import DEFAULT
    from preprocess.rejects import Rejected

    for path in paths:
        try:
            yield to_pixels(path.read_bytes(), DEFAULT)
        except Rejected:
            continue


def make_palette(name: str, paths: list[Path]) -> Palette:
    """Returns the palette `name`: linewash, grid:N, kmeans:K, or a file.

    Raises:
      UsageError: N or K is not a number.
      PaletteError, SchemaError, ValueError: N or K is out of range, or the file is not a palette.
    """
    from preprocess import palettes
    from preprocess.recipe import DEFAULT
    from preprocess.sources import Image
    from tfrecords_schema import Palette

    kind, _, number = name.partition(":")
    if kind in ("grid", "kmeans") and not (number.isascii() and number.isdecimal()) and name != "grid":
        raise UsageError(
            f"--palettes {name}: expected linewash, grid:N, kmeans:K or a file; type for example grid:3"
        )
    if name == "linewash":
        return Palette.linewash()
    if kind == "grid":
        return Palette.grid(int(number or 3))
    if kind == "kmeans":
        return palettes.learn_from_images(
            [Image(str(p), str(p)) for p in paths], DEFAULT, int(number), seed=0
        )
    return palettes.load(name)


def mean_difference(images: list[np.ndarray], palette: Palette) -> float:
    """Returns the mean CIEDE2000 (Sharma et al. 2005) between images and their posterized copies.

    Args:
      images: uint8 [S, S, 3] each.
      palette: the colours of the copies.
    """
    return sum(_image_difference(image, palette) for image in images) / len(images)


def _image_difference(image: np.ndarray, palette: Palette) -> float:
    from preprocess.posterize import to_labels
    from training.metrics.ciede2000 import ciede2000
    from training.metrics.color_spaces import to_cielab

    posterized = palette.to_rgb(to_labels(image, palette))
    return float(ciede2000(to_cielab(image), to_cielab(posterized)).mean())


def draw_sheet(images: list[np.ndarray], comparisons: dict[str, tuple[Palette, float]]) -> Image.Image:
    """Draws one row per image: the image, then its copies with each palette, under the palettes' colours.

    Args:
      images: uint8 [S, S, 3] each.
      comparisons: palette and mean difference, by the palette's name.
    """
    from PIL import Image, ImageDraw, ImageFont

    from preprocess.posterize import to_labels

    columns = 1 + len(comparisons)
    sheet = Image.new(
        "RGB", (GAP + columns * (TILE + GAP), HEADER + GAP + len(images) * (TILE + GAP)), (250, 249, 246)
    )
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for row, image in enumerate(images):
        tiles = [image] + [palette.to_rgb(to_labels(image, palette)) for palette, _ in comparisons.values()]
        for column, tile in enumerate(tiles):
            scaled = Image.fromarray(tile).resize((TILE, TILE), Image.Resampling.NEAREST)
            sheet.paste(scaled, (GAP + column * (TILE + GAP), HEADER + row * (TILE + GAP)))
    draw.text((GAP, 6), "image", (60, 60, 66), font)
    for column, (name, (palette, difference)) in enumerate(comparisons.items(), 1):
        left = GAP + column * (TILE + GAP)
        draw.text((left, 6), f"{name}, CIEDE2000 {difference:.2f}", (60, 60, 66), font)
        step = TILE / len(palette)
        for i, color in enumerate(palette.colors):
            draw.rectangle((left + i * step, 26, left + (i + 1) * step, 35), fill=color)
    return sheet


def _palette_name(text: str) -> str:
    """The `type` of --palettes: expands `~` in the name of a file."""
    return text if text.partition(":")[0] in ("linewash", "grid", "kmeans") else local_path_text(text)


def make_parser() -> Parser:
    """Returns the parser of the command line."""
    parser = Parser("compare_palettes", __doc__)
    add = parser.add_argument
    add("--images", type=local_path, required=True, help="folder of images")
    add(
        "--palettes", type=_palette_name, nargs="+", default=["linewash", "grid:3", "kmeans:27"],
        metavar="PALETTE", help="linewash, grid:N, kmeans:K, or a palette file [linewash grid:3 kmeans:27]",
    )  # fmt: skip
    add("-o", "--output", type=local_path, metavar="SHEET.png", help="sheet of images and posterized copies")
    add("--rows", type=at_least(1), default=3, help="images on the sheet [3]")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    return run(make_parser(), work, argv, extra="all")


def work(args: argparse.Namespace) -> int:
    """Prints the mean difference of each palette and writes the sheet if --output is given. Returns 0.

    Raises:
      UsageError: --images is not a folder, --output has no suffix of an image, or --palettes has a wrong
      name. WorkError: the folder has no usable image, or a palette cannot be made.
    """
    from bench.datasets import list_images
    from PIL import Image

    from preprocess import palettes
    from tfrecords_schema import SchemaError

    if args.output and args.output.suffix.lower() not in Image.registered_extensions():
        raise UsageError(f"--output {args.output}: type a name that ends in .png")
    paths = list_images(args.images)[: palettes.SAMPLE_IMAGES]
    images = list(read_pixels(paths))
    if not images:
        raise WorkError(f"no usable image in {args.images}")
    comparisons: dict[str, tuple[Palette, float]] = {}
    for name in args.palettes:
        try:
            palette = make_palette(name, paths)
        except (palettes.PaletteError, SchemaError, ValueError) as e:
            raise WorkError(str(e)) from None
        difference = mean_difference(images, palette)
        comparisons[name] = palette, difference
        print(f"{name:12} {len(palette):5} colours   mean CIEDE2000 {difference:.2f}", flush=True)
    if args.output:
        sample = images[:: max(1, len(images) // args.rows)][: args.rows]
        with atomic_write(args.output) as temporary:
            draw_sheet(sample, comparisons).save(temporary)
    return 0


if __name__ == "__main__":
    sys.exit(main())
