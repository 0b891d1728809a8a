"""How the three decodes compare on drawings whose colours are known: mean CIEDE2000, accuracy, lone pixels.

python scripts/compare_decodes.py --images JPEGS [--run RUN_OR_EXPORT] [--out decodes.png]
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from coloring.decode import Decode  # noqa: E402
from coloring.drawing import Drawing  # noqa: E402
from coloring.layers import encode_png  # noqa: E402
from coloring.network import STARTER, Network, load  # noqa: E402
from coloring.picture import Settings, colorize  # noqa: E402

from preprocess.decode import Rejected  # noqa: E402
from preprocess.recipe import DEFAULT, Recipe  # noqa: E402
from preprocess.transform import transform  # noqa: E402
from training.atomic import replacing  # noqa: E402
from training.ciede import difference_table  # noqa: E402
from training.errors import LinewashError, UsageError  # noqa: E402

DECODES: tuple[Decode, ...] = ("vote", "argmax", "mean")
SHOWN, GAP = 8, 6


def pairs(paths: list[Path], recipe: Recipe) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields edges and labels, [S, S] each, of each usable image."""
    for path in paths:
        try:
            yield transform(path.read_bytes(), recipe)
        except Rejected:
            continue


def as_drawing(edges: np.ndarray) -> Drawing:
    """Canny's own lines as a drawing: there is no hand's stroke to be thinned."""
    white = np.full((*edges.shape, 3), 255, np.uint8)
    return Drawing(white, edges, edges, dark=True)


def lone(labels: np.ndarray) -> float:
    """Share of the pixels that differ from all four neighbours: speckle."""
    inner = labels[1:-1, 1:-1]
    around = [labels[:-2, 1:-1], labels[2:, 1:-1], labels[1:-1, :-2], labels[1:-1, 2:]]
    return float(np.mean(np.all([inner != other for other in around], axis=0)))


def compare(network: Network, paths: list[Path]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Scores [3] of each decode on images (ΔE, accuracy, lone pixels), and a sheet of the first few.

    Raises:
      UsageError: none of the images can be used.
    """
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


def main() -> int:
    """Prints the table; gives the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of JPEGs that it did not train on")
    parser.add_argument("--run", type=Path, default=STARTER, help="a run or an export [the starter model]")
    parser.add_argument("--out", type=Path, help="PNG: drawing | truth | vote | argmax | mean")
    typed = parser.parse_args()
    try:
        paths = sorted(p for p in typed.images.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
        if not paths:
            raise UsageError(f"--images {typed.images} holds no JPEG")
        scores, sheet = compare(load(typed.run), paths)
        if typed.out:
            with replacing(typed.out) as temporary:
                temporary.write_bytes(encode_png(sheet))
    except LinewashError as e:
        print(f"compare_decodes: {e}", file=sys.stderr)
        return e.exit_code
    print(f"{'decode':8} {'ΔE':>7} {'accuracy':>9} {'lone pixels':>12}")
    for name, (difference, accuracy, speckle) in scores.items():
        print(f"{name:8} {difference:7.2f} {accuracy:9.3f} {speckle:12.2%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
