"""How fast a training step is beside Keras's own fit, for the same network and the same examples.

    python scripts/bench/step.py                     the network that a CPU can train
    python scripts/bench/step.py --models resunet    another

The rivals are what one would write first: `fit` with AdamW on float32 drawings, with labels as integers, and
with labels one-hot, as the article has them. A step of linewash starts from packed edges, as shards hold
them. Each way is a process of its own; the median of the steps that follow a few to warm up and compile.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from bench.harness import in_own_process, options, tell
from bench.input import random_dataset
from linewash.coloring.arguments import Parser, at_least, run

if TYPE_CHECKING:
    import numpy as np

WARM = 3  # steps that are not timed
MODELS = ("unet",)

Step = Callable[[], Any]


class Examples:
    """A batch of random examples, as noise: no step looks at the pixels."""

    def __init__(self, folder: Path, batch: int) -> None:
        import numpy as np

        import tfrecords_schema as schema

        random_dataset(folder, batch)
        self.root = folder
        self.manifest = schema.Manifest.load(folder)
        with (folder / self.manifest.splits["train"].shards[0].name).open("rb") as file:
            parts = [schema.decode_example(record) for record in schema.read_records(file)]
        side = self.manifest.image_size
        self.packed = np.stack([np.frombuffer(edges, np.uint8) for _, edges, _ in parts])
        self.labels = np.stack([np.frombuffer(labels, np.uint8) for _, _, labels in parts])
        self.labels = self.labels.reshape(batch, side, side)


def linewash(data: Examples, model: str) -> Step:
    """Ours, without augmentation."""
    import numpy as np
    import tensorflow as tf

    from training.loop.distribution import Replicas
    from training.loop.step import CompiledModel

    config, net = network(data, model)
    compiled_model = CompiledModel.of(net, data.manifest, config, Replicas.of(config.trainer.strategy))
    ids = np.arange(len(data.packed), dtype=np.int32)
    columns = [tf.constant(0), *map(tf.constant, (data.packed, data.labels, ids))]
    return lambda: compiled_model.train_step(*columns).numpy()


def fit_integers(data: Examples, model: str) -> Step:
    """Keras's fit with labels as integers."""
    return _fit(data, model, "sparse_categorical_crossentropy", data.labels.astype("int32"))


def fit_one_hot(data: Examples, model: str) -> Step:
    """Keras's fit with labels one-hot, float32."""
    import numpy as np

    one_hot = np.eye(len(data.manifest.palette), dtype=np.float32)[data.labels]
    return _fit(data, model, "categorical_crossentropy", one_hot)


def _fit(data: Examples, model: str, loss: str, truth: np.ndarray) -> Step:
    import keras
    import numpy as np

    config, net = network(data, model)
    side = data.manifest.image_size
    drawings = np.unpackbits(data.packed, axis=1).reshape(-1, side, side, 1).astype(np.float32)
    if config.model.gives_logits:
        kind = keras.losses.get({"class_name": loss, "config": {"from_logits": True}})
    else:
        kind = keras.losses.get(loss)
    net.compile(keras.optimizers.AdamW(config.optimizer.learning_rate), kind)
    return lambda: net.train_on_batch(drawings, truth)


def network(data: Examples, model: str) -> tuple[Any, Any]:
    """The settings, and the network that they describe."""
    from training.hydra_config import compose
    from training.models import build_model

    config = compose([f"data.root={data.root}", f"model={model}"])
    colors, trainer = len(data.manifest.palette), config.trainer
    return config, build_model(config.model, colors, trainer.seed, trainer.precision)


WAYS = {"linewash": linewash, "fit, integers": fit_integers, "fit, one-hot": fit_one_hot}


def time_way(way: str, model: str, batch: int, steps: int) -> dict[str, float]:
    """Median milliseconds of a step, images/s, and the largest resident size in MB."""
    with tempfile.TemporaryDirectory(prefix="linewash-bench-") as folder:
        step = WAYS[way](Examples(Path(folder), batch), model)
        taken = []
        for _ in range(WARM + steps):
            started = time.perf_counter()
            step()
            taken.append(time.perf_counter() - started)
    middle = statistics.median(taken[WARM:])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"step_ms": middle * 1e3, "images_per_s": batch / middle, "peak_mb": peak}


def show(rows: list[dict[str, Any]]) -> Iterator[str]:
    """The table's lines; the ratio is ours to theirs, in speed."""
    yield f"{'network':16}{'way':16}{'ms a step':>10}{'images/s':>10}{'ours is':>9}{'peak MB':>9}"
    for row in rows:
        ours = next(r for r in rows if r["model"] == row["model"] and r["way"] == "linewash")
        ratio = row["step_ms"] / ours["step_ms"]
        yield (
            f"{row['model']:16}{row['way']:16}{row['step_ms']:10.0f}{row['images_per_s']:10.1f}{ratio:8.2f}×"
            f"{row['peak_mb']:9,.0f}"
        )


def parser() -> Parser:
    """Every flag."""
    made = options("bench/step", __doc__)
    add = made.add_argument
    add("--models", nargs="+", default=MODELS, help=f"[{' '.join(MODELS)}]")
    add("--batch-size", type=at_least(1), default=16, help="[16]")
    add("--steps", type=at_least(1), default=20, help="timed, of each way [20]")
    return made


def main(words: list[str] | None = None) -> int:
    """Answers the command line; returns the exit code."""
    return run(parser(), work, words, extra="train")


def work(args: argparse.Namespace) -> int:
    """Prints the table; writes JSON with --json; 0."""
    if args.way:
        print(json.dumps(time_way(args.way, args.models[0], args.batch_size, args.steps)))
        return 0
    rows = []
    for model in args.models:
        for way in WAYS:
            size = ["--models", model, "--steps", args.steps, "--batch-size", args.batch_size]
            rows.append({"model": model, "way": way, **in_own_process(__file__, way, *size)})
            print(rows[-1], file=sys.stderr, flush=True)
    print(f"batches of {args.batch_size}, medians of {args.steps} steps")
    tell(show(rows), rows, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
