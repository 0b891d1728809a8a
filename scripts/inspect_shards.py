"""Draws a contact sheet of a dataset: edges beside labels, the palette, and how often each colour occurs.

Each example has a row for each line style.

python scripts/inspect_shards.py DATASET -o sheet.png
"""

from __future__ import annotations

import argparse
import gzip
import sys
import zlib
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from linewash.arguments import Parser, at_least, local_path, run

from training.atomic_files import atomic_write
from training.errors import UsageError, WorkError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    from tfrecords_schema import Manifest, Split

MAX_PIXELS = 1 << 28  # of a sheet; image viewers refuse larger files
MIN_TILE = 192  # px; a tile's side is a multiple of the image size
GAP = 12  # px
INK = (40, 40, 46)
FAINT = (120, 120, 128)
PAPER = (250, 249, 246)

# The key, edges uint8 [L, S, S] in {0, 1} and labels [S, S] of the palette's label_dtype.
Example = tuple[str, "np.ndarray", "np.ndarray"]


def read_examples(root: Path, manifest: Manifest, split: Split) -> Iterator[Example]:
    """Yields the examples of a split in the order of its shards."""
    import numpy as np

    from tfrecords_schema import decode_example, read_records, unpack_edges

    size = manifest.image_size
    for shard in split.shards:
        opened = gzip.open if shard.name.endswith(".gz") else open
        with opened(root / shard.name, "rb") as file:
            for record in read_records(file):
                key, packed_edges, label_bytes = decode_example(record)
                labels = np.frombuffer(label_bytes, manifest.palette.label_dtype).reshape(size, size)
                yield key, unpack_edges(packed_edges, size, len(manifest.lines)), labels


def draw_sheet(manifest: Manifest, split: str, examples: list[Example], columns: int) -> Image.Image:
    """Draws the examples, `columns` in a row, under a heading and the palette.

    Raises:
      UsageError: the sheet would be larger than `MAX_PIXELS`.
    """
    from PIL import Image, ImageDraw

    columns = min(columns, len(examples))
    rows = -(-len(examples) // columns)
    tile = manifest.image_size * -(-MIN_TILE // manifest.image_size)
    pair = 2 * tile + 2
    summary = _summary(manifest, split)
    width = max(columns * (pair + GAP) + GAP, 640, int(_font(13).getlength(summary)) + 2 * GAP)
    top = 112
    block = len(manifest.lines) * (tile + 2) + 28
    height = top + rows * block + GAP
    if width * height > MAX_PIXELS:
        raise UsageError(
            f"a sheet of {len(examples)} examples would be {width} x {height} pixels: type a smaller --count"
        )
    image = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(image)
    title = f"{manifest.splits[split].examples:,} {split} examples · {manifest.image_size} px"
    draw.text((GAP, 10), f"{title} · {len(manifest.palette)} colours", INK, _font(20))
    draw.text((GAP, 38), summary, FAINT, _font(13))
    _draw_palette(draw, manifest, split, width)
    for i, (key, edges, labels) in enumerate(examples):
        x = GAP + (i % columns) * (pair + GAP)
        y = top + (i // columns) * block
        coloring = _tile(manifest.palette.to_rgb(labels), tile)
        for line_map, name in zip(edges, manifest.lines, strict=True):
            _draw_pair(image, (x, y), line_map, coloring, name if len(edges) > 1 else "")
            y += tile + 2
        draw.text((x, y + 2), _truncate_left(draw, key, pair, _font(12)), FAINT, _font(12))
    return image


def _draw_pair(
    image: Image.Image, corner: tuple[int, int], line_map: np.ndarray, coloring: Image.Image, caption: str
) -> None:
    """Draws an edge map, uint8 [S, S] in {0, 1}, beside the colouring, with the caption on the map."""
    import numpy as np
    from PIL import ImageDraw

    x, y = corner
    tile = coloring.width
    draw = ImageDraw.Draw(image)
    image.paste(_tile(np.where(line_map[..., None], 0, 255).repeat(3, axis=2), tile), (x, y))
    image.paste(coloring, (x + tile + 2, y))
    draw.rectangle((x - 1, y - 1, x + 2 * tile + 2, y + tile), outline=(216, 214, 208))
    if caption:
        left, top, right, bottom = draw.textbbox((x + 4, y + 3), caption, _font(12))
        draw.rectangle((left - 3, top - 2, right + 3, bottom + 2), fill=PAPER)
        draw.text((x + 4, y + 3), caption, INK, _font(12))


def _summary(manifest: Manifest, split: str) -> str:
    """Describes the recipe and how many pixels of a split are lines, in each line style."""
    examples, edge_pixels = manifest.splits[split].examples, manifest.splits[split].edge_pixels
    pixels = max(1, examples * manifest.image_size**2)
    densities = [f"{count / pixels:.1%}" for count in edge_pixels]
    if len(densities) > 1:
        pairs = zip(manifest.lines, densities, strict=True)
        densities = [f"{name} {density}" for name, density in pairs]
    return (
        f"recipe {manifest.fingerprint} · lines on {', '.join(densities)} of the pixels · "
        "frequency of each colour:"
    )


def _draw_palette(draw: ImageDraw.ImageDraw, manifest: Manifest, split: str, width: int) -> None:
    """Draws a swatch for each colour and, below it, a bar as long as the colour is frequent."""
    import numpy as np

    histogram = np.array(manifest.splits[split].label_histogram, float)
    frequencies = histogram / max(1, histogram.max())
    step = (width - 2 * GAP) / len(manifest.palette)
    for i, color in enumerate(manifest.palette.colors):
        left, right = GAP + i * step, GAP + (i + 1) * step - (1 if step > 4 else 0)
        draw.rectangle((left, 60, right, 74), fill=color)
        draw.rectangle((left, 76, right, 76 + 24 * frequencies[i]), fill=color)


def _tile(pixels: np.ndarray, side: int) -> Image.Image:
    """Enlarges uint8 [S, S, 3] to `side` px without smoothing, so that each stored pixel is visible."""
    from PIL import Image

    return Image.fromarray(pixels.astype("uint8")).resize((side, side), Image.Resampling.NEAREST)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _truncate_left(
    draw: ImageDraw.ImageDraw, text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> str:
    """Returns as much of the end of `text` as fits into `width` px. (Keys differ at their ends.)"""
    if draw.textlength(text, font) <= width:
        return text
    while draw.textlength("…" + text, font) > width:
        text = text[1:]
    return "…" + text


def make_parser() -> Parser:
    """Returns the parser of the command line."""
    parser = Parser("inspect_shards", __doc__)
    add = parser.add_argument
    add("dataset", type=local_path, help="dataset directory made by python -m preprocess")
    add("-o", "--output", type=local_path, required=True, metavar="SHEET.png", help="image to write")
    add("--split", default="train", choices=["train", "val"], help="split to show [train]")
    add("--count", type=at_least(1), default=12, help="number of examples [12]")
    add("--columns", type=at_least(1), default=3, help="examples per row [3]")
    add("--key", help="show only the example with this key")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    return run(make_parser(), work, argv, extra="onnx")


def work(args: argparse.Namespace) -> int:
    """Writes the sheet. Returns 0.

    Raises:
      UsageError: the directory is not a dataset, or --output has no suffix of an image.
      WorkError: the dataset is damaged, or does not have the examples.
    """
    from PIL import Image

    from tfrecords_schema import Manifest, SchemaError

    if args.output.suffix.lower() not in Image.registered_extensions():
        raise UsageError(f"--output {args.output}: type a name that ends in .png")
    try:
        manifest = Manifest.load(args.dataset)
    except SchemaError as e:
        raise UsageError(str(e)) from None
    try:
        examples = _select_examples(args, manifest)
    except (SchemaError, EOFError, ValueError, zlib.error) as e:
        raise WorkError(str(e)) from None
    sheet = draw_sheet(manifest, args.split, examples, args.columns)
    with atomic_write(args.output) as temporary:
        sheet.save(temporary)
    print(f"{len(examples)} examples of {args.dataset} in {args.output}")
    return 0


def _select_examples(args: argparse.Namespace, manifest: Manifest) -> list[Example]:
    """Returns the example with --key, from any split, or the first --count examples of --split."""
    if args.split not in manifest.splits:
        raise WorkError(f"{args.dataset} has no {args.split} split")
    if args.key:
        order = [args.split, *(name for name in manifest.splits if name != args.split)]
        candidates: Iterator[Example] = chain.from_iterable(
            read_examples(args.dataset, manifest, manifest.splits[name]) for name in order
        )
        examples = list(islice((example for example in candidates if example[0] == args.key), 1))
    else:
        candidates = read_examples(args.dataset, manifest, manifest.splits[args.split])
        examples = list(islice(candidates, args.count))
    if not examples:
        missing = f"key {args.key}" if args.key else f"example in the {args.split} split"
        raise WorkError(f"{args.dataset} has no {missing}")
    return examples


if __name__ == "__main__":
    sys.exit(main())
