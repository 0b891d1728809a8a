"""Compares line styles: how many lines each draws, and how well they agree with the borders of the labels.

python scripts/compare_lines.py --images IMAGES -o lines.png

For each style it prints the mean over the images of three figures: the fraction of the pixels that are lines;
the fraction of the borders that have a line within 1 px (coverage); and the fraction of the lines that have a
border within 1 px (precision). A border is where labels change from one pixel to the next.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from compare_palettes import read_pixels
from linewash.arguments import Parser, at_least, local_path, run

from training.atomic_files import atomic_write
from training.errors import UsageError, WorkError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

TILE, GAP, HEADER = 128, 6, 26  # px


class Agreement(NamedTuple):
    """How the lines of an image agree with its labels, or the mean of many images."""

    density: float  # fraction of the pixels that are lines
    coverage: float  # fraction of the borders with a line within 1 px; NaN without borders
    precision: float  # fraction of the lines with a border within 1 px; NaN without lines


def measure(lines: np.ndarray, labels: np.ndarray) -> Agreement:
    """Compares lines, uint8 [S, S] in {0, 1}, with the borders of labels, [S, S]."""
    import cv2
    import numpy as np

    from preprocess.lines.borders import label_changes

    borders = label_changes(labels)
    square = np.ones((3, 3), np.uint8)
    covered, right = borders & cv2.dilate(lines, square), lines & cv2.dilate(borders, square)
    return Agreement(float(lines.mean()), _fraction(covered, borders), _fraction(right, lines))


def _fraction(part: np.ndarray, whole: np.ndarray) -> float:
    return float(part.sum() / whole.sum()) if whole.any() else float("nan")


def mean_agreement(agreements: list[Agreement]) -> Agreement:
    """Returns the mean of each figure over the images that have it."""
    import numpy as np

    columns = np.array(agreements).T
    return Agreement(*(float(np.nanmean(c)) if np.isfinite(c).any() else float("nan") for c in columns))


def draw_sheet(rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]], styles: list[str]) -> Image.Image:
    """Draws one row per image: the image, its labels' colours, and its lines in each style.

    Args:
      rows: image uint8 [S, S, 3], colours uint8 [S, S, 3], and lines uint8 [L, S, S] in {0, 1}.
      styles: the names of the line styles.
    """
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    captions = ["image", "colours", *styles]
    size = GAP + len(captions) * (TILE + GAP), HEADER + GAP + len(rows) * (TILE + GAP)
    sheet = Image.new("RGB", size, (228, 226, 220))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for column, caption in enumerate(captions):
        draw.text((GAP + column * (TILE + GAP), 6), caption, (60, 60, 66), font)
    for row, (image, colors, maps) in enumerate(rows):
        drawings = [np.where(lines[..., None], 0, 255).repeat(3, axis=2).astype(np.uint8) for lines in maps]
        for column, tile in enumerate([image, colors, *drawings]):
            scaled = Image.fromarray(tile).resize((TILE, TILE), Image.Resampling.NEAREST)
            sheet.paste(scaled, (GAP + column * (TILE + GAP), HEADER + row * (TILE + GAP)))
    return sheet


def make_parser() -> Parser:
    """Returns the parser of the command line."""
    parser = Parser("compare_lines", __doc__)
    add = parser.add_argument
    add("--images", type=local_path, required=True, help="folder of images")
    add("--lines", nargs="+", metavar="STYLE", help="line styles [all that need no drawing]")
    add("-o", "--output", type=local_path, metavar="SHEET.png", help="sheet of images and their lines")
    add("--rows", type=at_least(1), default=12, help="images on the sheet [12]")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    return run(make_parser(), work, argv, extra="all")


def work(args: argparse.Namespace) -> int:
    """Prints the figures of each style and writes the sheet if --output is given. Returns 0.

    Raises:
      UsageError: --images is not a folder, --output has no suffix of an image, or --lines has a wrong name.
      WorkError: the folder has no usable image.
    """
    import cv2
    from bench.datasets import list_images
    from PIL import Image

    from preprocess.lines.styles import LINE_STYLES, line_maps
    from preprocess.posterize import to_labels
    from preprocess.recipe import DEFAULT

    cv2.setNumThreads(1)
    own_styles = [name for name in LINE_STYLES if name != "drawn"]
    styles = args.lines or own_styles
    if wrong := [name for name in styles if name not in own_styles]:
        raise UsageError(f"--lines {wrong[0]}: type one of {', '.join(own_styles)}")
    if args.output and args.output.suffix.lower() not in Image.registered_extensions():
        raise UsageError(f"--output {args.output}: type a name that ends in .png")
    palette = DEFAULT.known_palette
    images = list(read_pixels(list_images(args.images)))
    if not images:
        raise WorkError(f"no usable image in {args.images}")
    labels = [to_labels(image, palette) for image in images]
    maps = [line_maps(styles, rgb, map_, None, DEFAULT) for rgb, map_ in zip(images, labels, strict=True)]
    print(f"{len(images)} images, {len(palette)} colours   density  coverage  precision")
    for number, style in enumerate(styles):
        agreements = [measure(lines[number], map_) for lines, map_ in zip(maps, labels, strict=True)]
        figures = mean_agreement(agreements)
        print(f"{style:24} {figures.density:11.3f} {figures.coverage:9.3f} {figures.precision:10.3f}")
    if args.output:
        sample = range(0, len(images), max(1, len(images) // args.rows))[: args.rows]
        rows = [(images[i], palette.to_rgb(labels[i]), maps[i]) for i in sample]
        with atomic_write(args.output) as temporary:
            draw_sheet(rows, styles).save(temporary)
    return 0


if __name__ == "__main__":
    sys.exit(main())
