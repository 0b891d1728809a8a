"""What the split is for: time to N epochs with shards made once, beside drawing edges and labels every epoch.

    python scripts/bench/epochs.py --images PHOTOS               the input alone
    python scripts/bench/epochs.py --images PHOTOS --train unet  with this network learning from it

The rivals start from the JPEGs each epoch: in Python, pixel by pixel, as the article has it; or with our own
fast functions, in as many processes as there are cores, which is the honest rival; or the same with tf.data's
cache to a file, which makes the first epoch pay for the others. Shards pay the Beam job once, as a whole
process from start to exit. Each is done for JPEGs decoded in full (the recipe `article`) and at a reduced
scale (the default). Every way delivers the same examples in shuffled batches of packed edges and labels, and
is a process of its own, warmed up before the clock starts. Three epochs of each are timed; N epochs are the
first, and N - 1 times the median of the others. The way in Python is timed on a few images.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import multiprocessing
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from bench.harness import in_own_process, options, tell
from bench.preprocess import copies, kept
from linewash.coloring.arguments import Parser, at_least, local_path, run

from preprocess.cores import available_cores
from training.errors import WorkError

if TYPE_CHECKING:
    import numpy as np

    from preprocess.recipe import Recipe

RECIPES = {"full": "ARTICLE", "reduced": "DEFAULT"}  # JPEGs decoded so, and the recipe's name
BATCH = 64
SLOW = 4  # images a batch and a process for the way in Python, which takes about a second for each
EPOCHS = 3  # timed
NUMBERS = (1, 10, 100)  # epochs

CORES = available_cores()

# packed edges uint8 [B, S*S/8], labels uint8 [B, S, S], ids int32 [B]
Columns = tuple["np.ndarray", "np.ndarray", "np.ndarray"]


@dataclasses.dataclass(frozen=True)
class Photographs:
    """The JPEGs, the dataset made of them, how they are drawn, and a folder for what a way keeps."""

    paths: list[Path]
    dataset: Path
    recipe: Recipe
    folder: Path
    batch: int = BATCH

    def batches(self, epoch: int) -> list[list[Path]]:
        """The paths of an epoch, shuffled, by batch; what is left over is dropped, as in training."""
        mixed = random.Random(epoch).sample(self.paths, len(self.paths))
        return [mixed[i : i + self.batch] for i in range(0, len(mixed) - self.batch + 1, self.batch)]


Epoch = Callable[[int], Iterable[Any]]


# ------------------------------------------------------------------------------------------------ the ways


def shards(data: Photographs) -> Epoch:
    """Ours: what the Beam job has left is read again."""
    from tfrecords_schema import Manifest
    from training.data.dataset import ShardedDataset

    dataset = ShardedDataset(str(data.dataset), Manifest.load(data.dataset))

    def epoch(number: int) -> Iterable[Any]:
        return dataset.train(data.batch, seed=0, epoch=number, shuffle_buffer=2048)

    next(iter(epoch(0)))  # TensorFlow's start, which every trainer pays
    return epoch


def in_python(data: Photographs) -> Epoch:
    """The article's way: Canny by OpenCV, the nearest colour pixel by pixel in Python."""
    few = dataclasses.replace(data, paths=data.paths[: SLOW * CORES], batch=SLOW)
    return _online(few, _draw_in_python)


def online(data: Photographs) -> Epoch:
    """The honest rival: our own functions, every epoch."""
    return _online(data, _draw)


def cached(data: Photographs) -> Epoch:
    """The same with tf.data's cache, which writes a file in the first epoch and reads it in the others."""
    import tensorflow as tf

    side = data.recipe.image_size
    draw = _online(data, _draw)
    shapes = tuple(
        tf.TensorSpec(shape, dtype)
        for shape, dtype in (
            ((None, side * side // 8), "uint8"),
            ((None, side, side), "uint8"),
            (None, "int32"),
        )
    )
    examples = tf.data.Dataset.from_generator(lambda: draw(0), output_signature=shapes).unbatch()
    kept = examples.cache(str(data.folder / "cache"))
    mixed = (
        kept.shuffle(2048, reshuffle_each_iteration=True).batch(data.batch, drop_remainder=True).prefetch(2)
    )
    return lambda _: mixed


def _online(data: Photographs, draw: Callable[[list[Path], Recipe], Columns]) -> Epoch:
    # From before TensorFlow is there, and without a copy of what it starts.
    pool = multiprocessing.get_context("forkserver").Pool(CORES, _one_thread)
    pool.map(_call, [(draw, data.paths[:1], data.recipe)] * CORES, chunksize=1)

    def epoch(number: int) -> Iterator[Columns]:
        todo = [(draw, paths, data.recipe) for paths in data.batches(number)]
        yield from pool.imap_unordered(_call, todo)

    return epoch


def _one_thread() -> None:
    import cv2

    cv2.setNumThreads(1)


def _call(job: tuple[Callable[..., Columns], list[Path], Recipe]) -> Columns:
    draw, paths, recipe = job
    return draw(paths, recipe)


def _draw(paths: list[Path], recipe: Recipe) -> Columns:
    from preprocess.transform import transform

    return _columns([transform(path.read_bytes(), recipe) for path in paths])


def _draw_in_python(paths: list[Path], recipe: Recipe) -> Columns:
    import numpy as np

    from preprocess.lines.canny import to_edges
    from preprocess.transform import to_pixels

    colors = [tuple(color) for color in recipe.palette.colors]

    def nearest(pixel: list[int]) -> int:
        return min(
            range(len(colors)), key=lambda i: sum((a - b) ** 2 for a, b in zip(colors[i], pixel, strict=True))
        )

    drawn = []
    for path in paths:
        rgb = to_pixels(path.read_bytes(), recipe)
        labels = np.array([nearest(pixel) for pixel in rgb.reshape(-1, 3).tolist()], np.uint8)
        drawn.append((to_edges(rgb, recipe), labels.reshape(rgb.shape[:2])))
    return _columns(drawn)


def _columns(drawn: list[tuple[np.ndarray, np.ndarray]]) -> Columns:
    import numpy as np

    edges, labels = map(np.stack, zip(*drawn, strict=True))
    return np.packbits(edges.reshape(len(drawn), -1), axis=1), labels, np.arange(len(drawn), dtype=np.int32)


WAYS = {
    "in Python": in_python,
    "online": online,
    "online, cached by tf.data": cached,
    "shards": shards,
}


# ------------------------------------------------------------------------------------------------ measuring


def count_only(_: Photographs) -> Callable[[Any], None]:
    """What the fastest network imaginable does with a batch."""
    return lambda batch: None


def learning(data: Photographs, model: str) -> Callable[[Any], None]:
    """A training step of `model` on a batch, compiled before the clock starts."""
    import numpy as np
    import tensorflow as tf

    import tfrecords_schema as schema
    from training.hydra_config import compose
    from training.loop.distribution import Replicas
    from training.loop.step import Learner
    from training.models import build_model

    manifest = schema.Manifest.load(data.dataset)
    config = compose([f"data.root={data.dataset}", f"model={model}"])
    net = build_model(config.model, len(manifest.palette), config.trainer.seed, config.trainer.precision)
    learner = Learner.of(net, manifest, config, Replicas.of(config.trainer.strategy))
    epoch = tf.constant(0, tf.int32)

    def learn(batch: Any) -> None:
        learner.train_step(epoch, *map(tf.convert_to_tensor, batch)).numpy()

    side = manifest.image_size
    learn((
        np.zeros((data.batch, side * side // 8), np.uint8),
        np.zeros((data.batch, side, side), np.uint8),
        np.zeros(data.batch, np.int32),
    ))  # fmt: skip
    return learn


def time_way(name: str, data: Photographs, model: str | None) -> dict[str, float]:
    """Milliseconds an image: of the first epoch, and of each that follows."""
    epoch = WAYS[name](data)
    batch = SLOW if name == "in Python" else data.batch
    use = learning(dataclasses.replace(data, batch=batch), model) if model else count_only(data)
    taken = []
    for number in range(EPOCHS):
        started, count = time.perf_counter(), 0
        for columns in epoch(number):
            count += len(columns[0])
            use(columns)
        taken.append((time.perf_counter() - started) / count * 1e3)
    return {"first_ms": taken[0], "next_ms": statistics.median(taken[1:])}


def preprocess(folder: Path, dataset: Path, recipe: str) -> float:
    """Seconds of the Beam job, as a whole process."""
    command = [sys.executable, "-m", "preprocess", "--input", folder, "--output", dataset]
    command += ["--val_fraction", 0, "--recipe", "article" if recipe == "full" else "default"]
    started = time.monotonic()
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise WorkError(done.stderr.strip() or f"preprocess ended with exit code {done.returncode}")
    return time.monotonic() - started


def seconds(row: dict[str, Any], epochs: int) -> float:
    """From nothing to the end of that many epochs."""
    return float(row["once_s"] + row["images"] * (row["first_ms"] + (epochs - 1) * row["next_ms"]) / 1e3)


def break_even(ours: dict[str, Any], theirs: dict[str, Any]) -> int | None:
    """The first epoch by whose end shards have taken no longer, or None: never."""
    if seconds(ours, 1) <= seconds(theirs, 1):
        return 1
    gain = theirs["next_ms"] - ours["next_ms"]
    if gain <= 0:
        return None
    return 1 + math.ceil((seconds(ours, 1) - seconds(theirs, 1)) * 1e3 / gain / ours["images"])


def measure(folder: Path, model: str | None) -> list[dict[str, Any]]:
    """A row for each decode and way, for the photographs in `folder`."""
    images = sorted((folder / "images").rglob("*.JPEG"))
    rows = []
    for decode in RECIPES:
        dataset = folder / f"dataset-{decode}"
        once = preprocess(folder / "images", dataset, decode)
        for way in WAYS:
            if way == "in Python" and decode == "reduced":
                continue
            with tempfile.TemporaryDirectory(dir=folder) as own:
                words = ["--decode", decode, "--folder", own, "--dataset", dataset]
                words += ["--train", model] if model else []
                times = in_own_process(__file__, way, *words, given="\n".join(map(str, images)))
            row = {"decode": decode, "way": way, "images": len(images)}
            row |= {"once_s": once if way == "shards" else 0.0, **times}
            rows.append(row | {f"epochs_{n}_s": seconds(row, n) for n in NUMBERS})
            print(rows[-1], file=sys.stderr, flush=True)
    for row in rows:
        ours = next(r for r in rows if r["way"] == "shards" and r["decode"] == row["decode"])
        row["break_even"] = None if row is ours else break_even(ours, row)
    return rows


def show(rows: list[dict[str, Any]]) -> Iterator[str]:
    """The table's lines."""
    yield (
        f"{'JPEGs':9}{'way':27}{'once s':>8}{'an epoch s':>12}"
        + "".join(f"{n:>4} ep. s" for n in NUMBERS)
        + f"{'break-even':>12}"
    )
    for row in rows:
        even = "" if row["way"] == "shards" else row["break_even"] or "never"
        times = "".join(f"{row[f'epochs_{n}_s']:10,.1f}" for n in NUMBERS)
        epoch = row["next_ms"] * row["images"] / 1e3
        yield (f"{row['decode']:9}{row['way']:27}{row['once_s']:8.1f}{epoch:12,.2f}{times}{even:>12}")


def parser() -> Parser:
    """Every flag."""
    made = options("bench/epochs", __doc__)
    add = made.add_argument
    add("--images", type=local_path, help="a folder of photographs")
    add("--count", type=at_least(1), default=4000, help="photographs an epoch [4000]")
    add("--train", metavar="MODEL", help="a network that learns from it [none: the input alone]")
    for hidden in ("--decode", "--folder", "--dataset"):  # one way, as a process of its own
        add(hidden, help=argparse.SUPPRESS)
    return made


def main(words: list[str] | None = None) -> int:
    """Answers the command line; returns the exit code."""
    made = parser()
    return run(made, lambda args: work(args, made), words, extra="all")


def work(args: argparse.Namespace, parser: Parser) -> int:
    """Prints the table; writes JSON with --json; 0."""
    if args.way:
        from preprocess import recipe

        paths = [Path(line) for line in sys.stdin.read().splitlines()]
        chosen = getattr(recipe, RECIPES[args.decode])
        data = Photographs(paths, Path(args.dataset), chosen, Path(args.folder))
        print(json.dumps(time_way(args.way, data, args.train)))
        return 0
    if not args.images:
        parser.error("--images FOLDER is needed")
    with tempfile.TemporaryDirectory(prefix="linewash-bench-") as temporary:
        folder = Path(temporary, "images")
        copies(args.images, folder, args.count)
        for path in folder.rglob("*.JPEG"):  # those that are left out would make batches uneven
            if not kept(path.read_bytes()):
                path.unlink()
        rows = measure(Path(temporary), args.train)
    print(f"{rows[0]['images']:,} photographs an epoch, {CORES} cores, network: {args.train or 'none'}")
    tell(show(rows), {"network": args.train, "cores": CORES, "rows": rows}, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
