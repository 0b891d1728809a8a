"""How the three decodes compare on drawings whose colours are known: mean CIEDE2000, accuracy, lone pixels.

python scripts/compare_decodes.py --images JPEGS [--run RUN_OR_EXPORT] [--out decodes.png]
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from linewash.coloring.arguments import Parser, local_path, run

from training.atomic_files import atomic_write
from training.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from linewash.coloring.label_decoding import Decode
    from linewash.coloring.line_extraction import Drawing
    from linewash.coloring.model_loader import Network

    from preprocess.recipe import Recipe

DECODES: tuple[Decode, ...] = ("vote", "argmax", "mean")
SHOWN, GAP = 8, 6


def pairs(paths: list[Path], recipe: Recipe) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields edges and labels, [S, S] each, of each usable image."""
    from preprocess.rejects import Rejected
    from preprocess.transform import transform

    for path in paths:
        try:
            yield transform(path.read_bytes(), recipe)
        except Rejected:
            continue


def as_drawing(edges: np.ndarray) -> Drawing:
    """Canny's own lines as a drawing: there is no hand's stroke to be thinned."""
    import numpy as np
    from linewash.coloring.line_extraction import Drawing

    white = np.full((*edges.shape, 3), 255, np.uint8)
    return Drawing(white, edges, edges, dark=True)


def lone(labels: np.ndarray) -> float:
    """Share of the pixels that differ from all four neighbours: speckle."""
    import numpy as np

    inner = labels[1:-1, 1:-1]
    around = [labels[:-2, 1:-1], labels[2:, 1:-1], labels[1:-1, :-2], labels[1:-1, 2:]]
    return float(np.mean(np.all([inner != other for other in around], axis=0)))


def compare(network: Network, paths: list[Path]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Scores [3] of each decode on images (ΔE, accuracy, lone pixels), and a sheet of the first few.

    Raises:
      UsageError: none of the images can be used.
    """
    import numpy as np
    from linewash.coloring.colorize import Settings, colorize

    from preprocess.recipe import DEFAULT
    from training.metrics.ciede2000 import difference_table

    recipe = dataclasses.replace(DEFAULT, image_size=network.image_size, palette=network.palette)
    differences = difference_table(network.palette.rgb)
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in DECODES}
    rows: list[np.ndarray] = []
    for edges, labels in pairs(paths, recipe):
        truth = network.palette.to_rgb(labels)
        row = [np.repeat((1 - edges)[..., None] * np.uint8(255), 3, axis=-1), truth]
        for name in DECODES:
            (picture,) = colorize(as_drawing(edges), network, Settings(decode=name))
            difference = float(differences[labels, picture.labels].mean())
            accuracy = float(np.mean(picture.labels == labels))
            found[name].append((difference, accuracy, lone(picture.labels)))
            row.append(picture.rgb())
        if len(rows) < SHOWN:
            framed = [np.pad(tile, ((0, GAP), (0, GAP), (0, 0)), constant_values=255) for tile in row]
            rows.append(np.concatenate(framed, axis=1))
    if not rows:
        raise UsageError("none of the images can be used")
    return {name: np.mean(scores, axis=0) for name, scores in found.items()}, np.concatenate(rows)


def parser() -> Parser:
    """Every flag."""
    made = Parser("compare_decodes", __doc__)
    add = made.add_argument
    add("--images", type=local_path, required=True, help="folder of photographs that it did not train on")
    add("--run", type=local_path, help="a run or an export [the starter model]")
    add(
        "-o", "--out", "--output", type=local_path, help="PNG: drawing | truth | vote | argmax | mean"
    )  # fmt: skip
    return made


def main(words: list[str] | None = None) -> int:
    """Answers the command line; returns the exit code."""
    return run(parser(), work, words, extra="all,onnx")


def work(args: argparse.Namespace) -> int:
    """Prints the table; 0.

    Raises:
      UsageError: no photographs, or no network.
      WorkError: the network is damaged.
    """
    from bench.datasets import list_images
    from linewash.coloring.model_loader import STARTER, load
    from linewash.coloring.openraster import encode_png

    scores, sheet = compare(load(args.run or STARTER), list_images(args.images))
    if args.out:
        with atomic_write(args.out) as temporary:
            temporary.write_bytes(encode_png(sheet))
    print(f"{'decode':8} {'ΔE':>7} {'accuracy':>9} {'lone pixels':>12}")
    for name, (difference, accuracy, speckle) in scores.items():
        print(f"{name:8} {difference:7.2f} {accuracy:9.3f} {speckle:12.2%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
