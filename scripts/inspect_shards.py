"""A contact sheet of a dataset: each drawing beside its colouring, the palette, how often each colour occurs.

python scripts/inspect_shards.py DATASET --out sheet.png
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

from linewash.coloring.arguments import Parser, at_least, local_path, run

from training.atomic_files import atomic_write
from training.errors import UsageError, WorkError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    from tfrecords_schema import Manifest, Split

MOST_PIXELS = 1 << 28  # of a sheet: about as large as viewers open
SMALLEST_TILE = 192  # px, side of one map on the sheet; a whole multiple of the map's own
GAP = 12
INK = (40, 40, 46)
FAINT = (120, 120, 128)
PAPER = (250, 249, 246)


def examples(root: Path, manifest: Manifest, split: Split) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yields (key, edges uint8 [S, S], labels [S, S]) of a split, in the order of its shards."""
    import numpy as np

    from tfrecords_schema import decode_example, read_records, unpack_edges

    size = manifest.image_size
    for shard in split.shards:
        opened = gzip.open if shard.name.endswith(".gz") else open
        with opened(root / shard.name, "rb") as file:
            for record in read_records(file):
                key, edges, labels = decode_example(record)
                maps = np.frombuffer(labels, manifest.palette.label_dtype).reshape(size, size)
                yield key, unpack_edges(edges, size), maps


def sheet(
    manifest: Manifest, split: str, shown: list[tuple[str, np.ndarray, np.ndarray]], columns: int
) -> Image.Image:
    """Lays the examples out in pairs, `columns` pairs a row, under a heading and a strip of the palette.

    Raises:
      UsageError: the sheet would be larger than `MOST_PIXELS`.
    """
    import numpy as np
    from PIL import Image, ImageDraw

    columns = min(columns, len(shown))
    rows = -(-len(shown) // columns)
    tile = manifest.image_size * -(-SMALLEST_TILE // manifest.image_size)
    pair = 2 * tile + 2
    width = max(columns * (pair + GAP) + GAP, 640)
    top = 112
    height = top + rows * (tile + 30) + GAP
    if width * height > MOST_PIXELS:
        raise UsageError(
            f"a sheet of {len(shown)} examples would be {width} x {height} pixels: type a smaller --count"
        )
    picture = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(picture)
    _heading(draw, manifest, split)
    _palette_strip(draw, manifest, split, width)
    for i, (key, edges, labels) in enumerate(shown):
        x = GAP + (i % columns) * (pair + GAP)
        y = top + (i // columns) * (tile + 30)
        picture.paste(_tile(np.where(edges[..., None], 0, 255).repeat(3, axis=2), tile), (x, y))
        picture.paste(_tile(manifest.palette.to_rgb(labels), tile), (x + tile + 2, y))
        draw.rectangle((x - 1, y - 1, x + pair, y + tile), outline=(216, 214, 208))
        draw.text((x, y + tile + 4), _fitted(draw, key, pair, _font(12)), FAINT, _font(12))
    return picture


def _heading(draw: ImageDraw.ImageDraw, manifest: Manifest, split: str) -> None:
    one = manifest.splits[split]
    density = one.edge_pixels / max(1, one.examples * manifest.image_size**2)
    title = f"{one.examples:,} {split} examples · {manifest.image_size} px · {len(manifest.palette)} colours"
    draw.text((GAP, 10), title, INK, _font(20))
    draw.text(
        (GAP, 38),
        f"recipe {manifest.fingerprint} · lines on {density:.1%} of the pixels · share of each colour:",
        FAINT,
        _font(13),
    )


def _palette_strip(draw: ImageDraw.ImageDraw, manifest: Manifest, split: str, width: int) -> None:
    """One swatch a colour, as wide as all others; under it a bar as long as the colour is common."""
    import numpy as np

    histogram = np.array(manifest.splits[split].label_histogram, float)
    shares = histogram / max(1, histogram.max())
    step = (width - 2 * GAP) / len(manifest.palette)
    for i, color in enumerate(manifest.palette.colors):
        left, right = GAP + i * step, GAP + (i + 1) * step - (1 if step > 4 else 0)
        draw.rectangle((left, 60, right, 74), fill=color)
        draw.rectangle((left, 76, right, 76 + 24 * shares[i]), fill=color)


def _tile(pixels: np.ndarray, side: int) -> Image.Image:
    """Pixels, uint8 [S, S, 3], `side` px large, with hard edges as they are in the shard."""
    from PIL import Image

    return Image.fromarray(pixels.astype("uint8")).resize((side, side), Image.Resampling.NEAREST)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _fitted(
    draw: ImageDraw.ImageDraw, text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> str:
    """The end of `text`, as much as is `width` px wide: keys differ at their ends."""
    if draw.textlength(text, font) <= width:
        return text
    while draw.textlength("…" + text, font) > width:
        text = text[1:]
    return "…" + text


def parser() -> Parser:
    """Every flag."""
    made = Parser("inspect_shards", __doc__)
    add = made.add_argument
    add("dataset", type=local_path, help="a dataset directory made by python -m preprocess")
    add(
        "-o", "--out", "--output", type=local_path, required=True, metavar="SHEET.png",
        help="the picture to write",
    )  # fmt: skip
    add("--split", default="train", choices=["train", "val"], help="[train]")
    add("--count", type=at_least(1), default=12, help="how many examples [12]")
    add("--columns", type=at_least(1), default=3, help="examples a row [3]")
    add("--key", help="only the example with this key")
    return made


def main(words: list[str] | None = None) -> int:
    """Answers the command line; returns the exit code."""
    return run(parser(), work, words, extra="onnx")


def work(args: argparse.Namespace) -> int:
    """Writes the sheet; 0.

    Raises:
      UsageError: no dataset, or a name that no picture can have.
      WorkError: the dataset is damaged, or has no such example.
    """
    from PIL import Image

    from tfrecords_schema import Manifest, SchemaError

    if args.out.suffix.lower() not in Image.registered_extensions():
        raise UsageError(f"--out {args.out}: type a name that ends in .png")
    try:
        manifest = Manifest.load(args.dataset)
    except SchemaError as e:
        raise UsageError(str(e)) from None
    try:
        shown = _chosen(args, manifest)
    except (SchemaError, EOFError, ValueError, zlib.error) as e:
        raise WorkError(str(e)) from None
    picture = sheet(manifest, args.split, shown, args.columns)
    with atomic_write(args.out) as temporary:
        picture.save(temporary)
    print(f"{len(shown)} examples of {args.dataset} in {args.out}")
    return 0


def _chosen(args: argparse.Namespace, manifest: Manifest) -> list[tuple[str, np.ndarray, np.ndarray]]:
    if args.split not in manifest.splits:
        raise WorkError(f"{args.dataset} has no {args.split} split")
    if args.key:
        order = [args.split, *(name for name in manifest.splits if name != args.split)]
        found = chain.from_iterable(examples(args.dataset, manifest, manifest.splits[s]) for s in order)
        shown = list(islice((one for one in found if one[0] == args.key), 1))
    else:
        shown = list(islice(examples(args.dataset, manifest, manifest.splits[args.split]), args.count))
    if not shown:
        what = f"key {args.key}" if args.key else f"example in the {args.split} split"
        raise WorkError(f"{args.dataset} has no {what}")
    return shown


if __name__ == "__main__":
    sys.exit(main())
