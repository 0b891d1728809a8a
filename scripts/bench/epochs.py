"""Compares the time to N epochs from shards with computing edges and labels from the JPEGs in every epoch.

    python scripts/bench/epochs.py --images IMAGES               the input alone
    python scripts/bench/epochs.py --images IMAGES --train unet  the input and the training of this network

- shards: the Beam job once, timed as a process from start to exit, then the trainer's input.
- online: linewash's own functions on the JPEGs in every epoch, in one process per core.
- online, cached by tf.data: the same, with a cache file that the first epoch writes.
- in Python: as in the article, the nearest colour of each pixel in Python. It is timed on a few images.

All variants run with JPEGs decoded at full scale (recipe `article`) and, except the last, at a reduced scale
(the default). All deliver the same examples in shuffled batches of packed edges and labels, each in a process
of its own that warms up before it is timed. Three epochs are timed. The time to N epochs is that of the first
epoch plus N - 1 times the median of the others.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import multiprocessing
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from bench.datasets import duplicate_images, is_accepted
from bench.harness import benchmark_parser, run_variant, write_results
from bench.processes import python_command, run_timed
from linewash.arguments import Parser, at_least, local_path, run

from preprocess.cores import available_cores

if TYPE_CHECKING:
    import numpy as np

    from preprocess.recipe import Recipe

RECIPES = {"full": "ARTICLE", "reduced": "DEFAULT"}  # scale of JPEG decoding: name of the recipe
BATCH_SIZE = 64
PYTHON_BATCH_SIZE = 4  # for the variant in Python, which takes about a second per image
TIMED_EPOCHS = 3
NUM_EPOCHS = (1, 10, 100)  # columns of the table

CORES = available_cores()

# packed edges uint8 [B, S*S/8], labels uint8 [B, S, S], ids int32 [B]
Batch = tuple["np.ndarray", "np.ndarray", "np.ndarray"]


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The JPEGs, the dataset made from them, the recipe, and a folder for temporary files of a variant."""

    paths: list[Path]
    dataset: Path
    recipe: Recipe
    folder: Path
    batch_size: int = BATCH_SIZE

    def path_batches(self, epoch: int) -> list[list[Path]]:
        """Returns the shuffled paths of an epoch in batches. Drops an incomplete batch, as training does."""
        size = self.batch_size
        shuffled = random.Random(epoch).sample(self.paths, len(self.paths))
        return [shuffled[i : i + size] for i in range(0, len(shuffled) - size + 1, size)]


# Takes the number of an epoch and returns its batches. len(batch[0]) is the number of examples.
Epoch = Callable[[int], Iterable[Any]]


# ------------------------------------------------------------------------------------------------ variants


def shards(inputs: Inputs) -> Epoch:
    """Reads the shards that the Beam job has written."""
    from training.data.dataset import ShardedDataset

    dataset = ShardedDataset.open(str(inputs.dataset))

    def epoch(number: int) -> Iterable[Any]:
        return dataset.train(inputs.batch_size, seed=0, epoch=number, shuffle_buffer=2048)

    next(iter(epoch(0)))  # excludes the start of TensorFlow, which every trainer needs
    return epoch


def in_python(inputs: Inputs) -> Epoch:
    """Computes edges with OpenCV and the nearest colour of each pixel in Python, as the article does."""
    paths = inputs.paths[: PYTHON_BATCH_SIZE * CORES]
    small_inputs = dataclasses.replace(inputs, paths=paths, batch_size=PYTHON_BATCH_SIZE)
    return _online(small_inputs, _make_batch_in_python)


def online(inputs: Inputs) -> Epoch:
    """Computes edges and labels with linewash's own functions in every epoch."""
    return _online(inputs, _make_batch)


def cached(inputs: Inputs) -> Epoch:
    """As `online` in the first epoch, which writes a tf.data cache file; later epochs read the file."""
    import tensorflow as tf

    side = inputs.recipe.image_size
    first_epoch = _online(inputs, _make_batch)
    shapes = tuple(
        tf.TensorSpec(shape, dtype)
        for shape, dtype in (
            ((None, side * side // 8), "uint8"),
            ((None, side, side), "uint8"),
            (None, "int32"),
        )
    )
    examples = tf.data.Dataset.from_generator(lambda: first_epoch(0), output_signature=shapes).unbatch()
    dataset = examples.cache(str(inputs.folder / "cache")).shuffle(2048, reshuffle_each_iteration=True)
    dataset = dataset.batch(inputs.batch_size, drop_remainder=True).prefetch(2)
    return lambda _: dataset


def _online(inputs: Inputs, make_batch: Callable[[list[Path], Recipe], Batch]) -> Epoch:
    # A fork server: the workers must not inherit TensorFlow's threads and locks.
    pool = multiprocessing.get_context("forkserver").Pool(CORES, _use_one_thread)
    pool.map(_call, [(make_batch, inputs.paths[:1], inputs.recipe)] * CORES, chunksize=1)

    def epoch(number: int) -> Iterator[Batch]:
        jobs = [(make_batch, paths, inputs.recipe) for paths in inputs.path_batches(number)]
        yield from pool.imap_unordered(_call, jobs)

    return epoch


def _use_one_thread() -> None:
    import cv2

    cv2.setNumThreads(1)


def _call(job: tuple[Callable[..., Batch], list[Path], Recipe]) -> Batch:
    make_batch, paths, recipe = job
    return make_batch(paths, recipe)


def _make_batch(paths: list[Path], recipe: Recipe) -> Batch:
    from preprocess.transform import transform

    return _stack([transform(path.read_bytes(), recipe) for path in paths])


def _make_batch_in_python(paths: list[Path], recipe: Recipe) -> Batch:
    import numpy as np

    from preprocess.lines.canny import to_edges
    from preprocess.pixels import to_pixels

    colors = [tuple(color) for color in recipe.known_palette.colors]

    def nearest(pixel: list[int]) -> int:
        return min(
            range(len(colors)), key=lambda i: sum((a - b) ** 2 for a, b in zip(colors[i], pixel, strict=True))
        )

    examples = []
    for path in paths:
        rgb = to_pixels(path.read_bytes(), recipe)
        labels = np.array([nearest(pixel) for pixel in rgb.reshape(-1, 3).tolist()], np.uint8)
        examples.append((to_edges(rgb, recipe), labels.reshape(rgb.shape[:2])))
    return _stack(examples)


def _stack(examples: list[tuple[np.ndarray, np.ndarray]]) -> Batch:
    import numpy as np

    count = len(examples)
    edges, labels = map(np.stack, zip(*examples, strict=True))
    return np.packbits(edges.reshape(count, -1), axis=1), labels, np.arange(count, dtype=np.int32)


VARIANTS = {
    "in Python": in_python,
    "online": online,
    "online, cached by tf.data": cached,
    "shards": shards,
}


# ------------------------------------------------------------------------------------------------ measuring


def make_train_step(inputs: Inputs, model: str) -> Callable[[Any], None]:
    """Returns a compiled training step of `model`. It takes a batch."""
    import numpy as np
    import tensorflow as tf

    import tfrecords_schema as schema
    from training.hydra_config import compose
    from training.loop.distribution import Replicas
    from training.loop.step import CompiledModel
    from training.models import build_model

    manifest = schema.Manifest.load(inputs.dataset)
    config = compose([f"data.root={inputs.dataset}", f"model={model}"])
    net = build_model(config.model, len(manifest.palette), config.trainer.seed, config.trainer.precision)
    compiled_model = CompiledModel.create(net, manifest, config, Replicas.create(config.trainer.strategy))
    epoch = tf.constant(0, tf.int32)

    def train_step(batch: Any) -> None:
        compiled_model.train_step(epoch, *map(tf.convert_to_tensor, batch)).numpy()

    side, count = manifest.image_size, inputs.batch_size
    train_step((
        np.zeros((count, side * side // 8), np.uint8),
        np.zeros((count, side, side), np.uint8),
        np.zeros(count, np.int32),
    ))  # fmt: skip
    return train_step


def time_variant(name: str, inputs: Inputs, model: str | None) -> dict[str, float]:
    """Returns milliseconds per image in the first epoch, and the median of those that follow."""
    epoch = VARIANTS[name](inputs)
    train_step = None
    if model:
        batch_size = PYTHON_BATCH_SIZE if name == "in Python" else inputs.batch_size
        train_step = make_train_step(dataclasses.replace(inputs, batch_size=batch_size), model)
    times = []
    for number in range(TIMED_EPOCHS):
        started, count = time.perf_counter(), 0
        for batch in epoch(number):
            count += len(batch[0])
            if train_step:
                train_step(batch)
        times.append((time.perf_counter() - started) / count * 1e3)
    return {"first_ms": times[0], "next_ms": statistics.median(times[1:])}


def run_preprocess(folder: Path, dataset: Path, decode: str) -> float:
    """Runs the Beam job and returns its seconds from start to exit."""
    arguments = ["--input", folder, "--output", dataset, "--val_fraction", 0]
    arguments += ["--recipe", "article" if decode == "full" else "default"]
    return run_timed(python_command("-m", "preprocess", *arguments))


def seconds_to(epochs: int, row: dict[str, Any]) -> float:
    """Returns the seconds from the start to the end of the last of `epochs`, with preprocessing."""
    return float(row["once_s"] + row["images"] * (row["first_ms"] + (epochs - 1) * row["next_ms"]) / 1e3)


def break_even(shards: dict[str, Any], other: dict[str, Any]) -> int | None:
    """Returns the first epoch by whose end shards have taken no longer than `other`, or None."""
    if seconds_to(1, shards) <= seconds_to(1, other):
        return 1
    gain = other["next_ms"] - shards["next_ms"]
    if gain <= 0:
        return None
    return 1 + math.ceil((seconds_to(1, shards) - seconds_to(1, other)) * 1e3 / gain / shards["images"])


def compare_variants(folder: Path, model: str | None) -> list[dict[str, Any]]:
    """Returns a row for each scale of decoding and each variant, measured on the images in `folder`."""
    images = sorted((folder / "images").rglob("*.JPEG"))
    rows = []
    for decode in RECIPES:
        dataset = folder / f"dataset-{decode}"
        preprocess_s = run_preprocess(folder / "images", dataset, decode)
        for variant in VARIANTS:
            if variant == "in Python" and decode == "reduced":
                continue
            with tempfile.TemporaryDirectory(dir=folder) as temporary:
                options = ["--decode", decode, "--folder", temporary, "--dataset", dataset]
                options += ["--train", model] if model else []
                times = run_variant(__file__, variant, *options, stdin="\n".join(map(str, images)))
            row = {"decode": decode, "variant": variant, "images": len(images)}
            row |= {"once_s": preprocess_s if variant == "shards" else 0.0, **times}
            rows.append(row | {f"epochs_{n}_s": seconds_to(n, row) for n in NUM_EPOCHS})
            print(rows[-1], file=sys.stderr, flush=True)
    for row in rows:
        shards_row = next(r for r in rows if r["variant"] == "shards" and r["decode"] == row["decode"])
        row["break_even"] = None if row is shards_row else break_even(shards_row, row)
    return rows


def table_lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yields the lines of the table."""
    yield (
        f"{'JPEGs':9}{'variant':27}{'once s':>8}{'an epoch s':>12}"
        + "".join(f"{n:>4} ep. s" for n in NUM_EPOCHS)
        + f"{'break-even':>12}"
    )
    for row in rows:
        break_even_epoch = "" if row["variant"] == "shards" else row["break_even"] or "never"
        times = "".join(f"{row[f'epochs_{n}_s']:10,.1f}" for n in NUM_EPOCHS)
        epoch = row["next_ms"] * row["images"] / 1e3
        yield (
            f"{row['decode']:9}{row['variant']:27}{row['once_s']:8.1f}{epoch:12,.2f}{times}"
            f"{break_even_epoch:>12}"
        )


def make_parser() -> Parser:
    """Returns the parser of the command line."""
    parser = benchmark_parser("bench/epochs", __doc__)
    add = parser.add_argument
    add("--images", type=local_path, help="folder of JPEGs")
    add("--count", type=at_least(1), default=4000, help="images per epoch [4000]")
    add("--train", metavar="MODEL", help="network to train [none: the input alone]")
    for hidden in ("--decode", "--folder", "--dataset"):  # set in the process that measures one variant
        add(hidden, help=argparse.SUPPRESS)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    parser = make_parser()
    return run(parser, lambda args: work(args, parser), argv, extra="all")


def work(args: argparse.Namespace, parser: Parser) -> int:
    """Measures all variants, prints the table and writes JSON if --json is given. Returns 0."""
    if args.variant:
        from preprocess import recipe

        paths = [Path(line) for line in sys.stdin.read().splitlines()]
        inputs = Inputs(paths, Path(args.dataset), getattr(recipe, RECIPES[args.decode]), Path(args.folder))
        print(json.dumps(time_variant(args.variant, inputs, args.train)))
        return 0
    if not args.images:
        parser.error("--images is missing: type --images FOLDER")
    with tempfile.TemporaryDirectory(prefix="linewash-bench-") as temporary:
        folder = Path(temporary, "images")
        duplicate_images(args.images, folder, args.count)
        for path in folder.rglob("*.JPEG"):  # rejected images would make the batches of `online` uneven
            if not is_accepted(path.read_bytes()):
                path.unlink()
        rows = compare_variants(Path(temporary), args.train)
    print(f"{rows[0]['images']:,} images per epoch, {CORES} cores, network: {args.train or 'none'}")
    write_results(table_lines(rows), {"network": args.train, "cores": CORES, "rows": rows}, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
