"""How far from the photographs each palette leaves them: mean CIEDE2000, and a picture.

python scripts/compare_palettes.py --images PHOTOS --palettes grid:3 kmeans:27 kmeans:64 --out palettes.png
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont
from skimage.color import deltaE_ciede2000, rgb2lab

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from preprocess import palettes  # noqa: E402
from preprocess.decode import Rejected  # noqa: E402
from preprocess.posterize import to_labels  # noqa: E402
from preprocess.recipe import DEFAULT  # noqa: E402
from preprocess.sources import Image  # noqa: E402
from preprocess.transform import to_pixels  # noqa: E402
from tfrecords_schema import Palette, SchemaError  # noqa: E402

TILE, GAP, HEAD = 192, 8, 40


def pixels(paths: list[Path]) -> Iterator[np.ndarray]:
    """Yields what the default recipe makes of each usable photograph, uint8 [S, S, 3]."""
    for path in paths:
        try:
            yield to_pixels(path.read_bytes(), DEFAULT)
        except Rejected:
            continue


def make_palette(name: str, paths: list[Path]) -> Palette:
    """The palette that `name` asks for: grid:N, kmeans:K or a file.

    Raises:
      PaletteError, SchemaError, ValueError: it cannot be made.
    """
    kind, _, number = name.partition(":")
    if kind == "grid":
        return Palette.grid(int(number or 3))
    if kind == "kmeans":
        return palettes.learn_from([Image(str(p), str(p)) for p in paths], DEFAULT, int(number), seed=0)
    return palettes.load(name)


def difference(images: list[np.ndarray], palette: Palette) -> float:
    """Mean CIEDE2000 (Sharma et al. 2005) between `images` and their posterized copies."""
    return float(np.mean([_difference(image, palette) for image in images]))


def _difference(image: np.ndarray, palette: Palette) -> float:
    posterized = palette.to_rgb(to_labels(image, palette))
    return float(deltaE_ciede2000(rgb2lab(image), rgb2lab(posterized)).mean())


def draw(images: list[np.ndarray], found: dict[str, tuple[Palette, float]]) -> Picture.Image:
    """A row a photograph: itself, then posterized with each palette; the palette's colours below its name."""
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


def main() -> int:
    """Prints the table and draws the picture; gives the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True, help="a folder of photographs")
    parser.add_argument(
        "--palettes", nargs="+", default=["grid:3", "kmeans:27", "kmeans:64"], metavar="PALETTE"
    )
    parser.add_argument(
        "--out", type=Path, metavar="PICTURE.png", help="where to draw the first --rows of them"
    )
    parser.add_argument("--rows", type=int, default=3, help="photographs in the picture [3]")
    args = parser.parse_args()
    paths = sorted(
        path for path in args.images.rglob("*") if path.suffix.lower() in (".jpeg", ".jpg", ".png")
    )
    images = list(pixels(paths[: palettes.SAMPLE_IMAGES]))
    if not images:
        print(f"compare_palettes: no usable photograph in {args.images}", file=sys.stderr)
        return 1
    found: dict[str, tuple[Palette, float]] = {}
    try:
        for name in args.palettes:
            palette = make_palette(name, paths[: palettes.SAMPLE_IMAGES])
            found[name] = palette, difference(images, palette)
            print(f"{name:12} {len(palette):5} colours   mean CIEDE2000 {found[name][1]:.2f}", flush=True)
    except (palettes.PaletteError, SchemaError, ValueError) as e:
        print(f"compare_palettes: {e}", file=sys.stderr)
        return 1
    if args.out:
        spread = images[:: max(1, len(images) // args.rows)][: args.rows]
        draw(spread, found).save(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
