"""Compares a training step of linewash with a step of Keras's `fit`, on the same network and examples.

    python scripts/bench/step.py                     the network that a CPU can train
    python scripts/bench/step.py --models resunet    another network

The variants of `fit` use AdamW and float32 drawings, with integer labels or with one-hot labels as in the
article. A step of linewash starts from packed edges, as shards hold them. Each variant runs in a process of
its own. The first steps, which compile, are not timed; the table shows the median of the others.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from bench.datasets import write_random_dataset
from bench.harness import benchmark_parser, run_variant, write_results
from bench.processes import own_peak_mb
from linewash.arguments import Parser, at_least, run

if TYPE_CHECKING:
    import numpy as np

WARM_UP_STEPS = 3
MODELS = ("unet",)

Step = Callable[[], Any]


class RandomBatch:
    """One batch of random examples: `packed` edges, uint8 [B, S*S/8], and `labels`, uint8 [B, S, S]."""

    def __init__(self, folder: Path, batch_size: int) -> None:
        import numpy as np

        import tfrecords_schema as schema

        write_random_dataset(folder, batch_size)
        self.root = folder
        self.manifest = schema.Manifest.load(folder)
        with (folder / self.manifest.splits["train"].shards[0].name).open("rb") as file:
            examples = [schema.decode_example(record) for record in schema.read_records(file)]
        side = self.manifest.image_size
        self.packed = np.stack([np.frombuffer(edges, np.uint8) for _, edges, _ in examples])
        self.labels = np.stack([np.frombuffer(labels, np.uint8) for _, _, labels in examples])
        self.labels = self.labels.reshape(batch_size, side, side)


def linewash(data: RandomBatch, model: str) -> Step:
    """Returns linewash's training step, without augmentation."""
    import numpy as np
    import tensorflow as tf

    from training.loop.distribution import Replicas
    from training.loop.step import CompiledModel

    config, net = network(data, model)
    compiled_model = CompiledModel.create(
        net, data.manifest, config, Replicas.create(config.trainer.strategy)
    )
    ids = np.arange(len(data.packed), dtype=np.int32)
    columns = [tf.constant(0), *map(tf.constant, (data.packed, data.labels, ids))]
    return lambda: compiled_model.train_step(*columns).numpy()


def fit_integers(data: RandomBatch, model: str) -> Step:
    """Returns Keras's training step with integer labels."""
    return _fit(data, model, "sparse_categorical_crossentropy", data.labels.astype("int32"))


def fit_one_hot(data: RandomBatch, model: str) -> Step:
    """Returns Keras's training step with one-hot labels, float32."""
    import numpy as np

    one_hot = np.eye(len(data.manifest.palette), dtype=np.float32)[data.labels]
    return _fit(data, model, "categorical_crossentropy", one_hot)


def _fit(data: RandomBatch, model: str, loss: str, truth: np.ndarray) -> Step:
    import keras
    import numpy as np

    config, net = network(data, model)
    side = data.manifest.image_size
    drawings = np.unpackbits(data.packed, axis=1).reshape(-1, side, side, 1).astype(np.float32)
    if config.model.gives_logits:
        loss_function = keras.losses.get({"class_name": loss, "config": {"from_logits": True}})
    else:
        loss_function = keras.losses.get(loss)
    net.compile(keras.optimizers.AdamW(config.optimizer.learning_rate), loss_function)
    return lambda: net.train_on_batch(drawings, truth)


def network(data: RandomBatch, model: str) -> tuple[Any, Any]:
    """Returns the config and the network that it describes."""
    from training.hydra_config import compose
    from training.models import build_model

    config = compose([f"data.root={data.root}", f"model={model}"])
    colors, trainer = len(data.manifest.palette), config.trainer
    return config, build_model(config.model, colors, trainer.seed, trainer.precision)


VARIANTS = {"linewash": linewash, "fit, integers": fit_integers, "fit, one-hot": fit_one_hot}


def measure_variant(variant: str, model: str, batch_size: int, steps: int) -> dict[str, float]:
    """Returns the median milliseconds of a step, images per second, and the peak memory of the process."""
    with tempfile.TemporaryDirectory(prefix="linewash-bench-") as folder:
        step = VARIANTS[variant](RandomBatch(Path(folder), batch_size), model)
        times = []
        for _ in range(WARM_UP_STEPS + steps):
            started = time.perf_counter()
            step()
            times.append(time.perf_counter() - started)
    seconds = statistics.median(times[WARM_UP_STEPS:])
    return {"step_ms": seconds * 1e3, "images_per_s": batch_size / seconds, "peak_mb": own_peak_mb()}


def table_lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yields the lines of the table. The ratio is linewash's speed to the variant's."""
    yield f"{'network':16}{'variant':16}{'ms a step':>10}{'images/s':>10}{'linewash is':>13}{'peak MB':>9}"
    for row in rows:
        linewash = next(r for r in rows if r["model"] == row["model"] and r["variant"] == "linewash")
        ratio = row["step_ms"] / linewash["step_ms"]
        yield (
            f"{row['model']:16}{row['variant']:16}{row['step_ms']:10.0f}{row['images_per_s']:10.1f}"
            f"{ratio:12.2f}×{row['peak_mb']:9,.0f}"
        )


def make_parser() -> Parser:
    """Returns the parser of the command line."""
    parser = benchmark_parser("bench/step", __doc__)
    add = parser.add_argument
    add("--models", nargs="+", default=MODELS, help=f"networks to train [{' '.join(MODELS)}]")
    add("--batch-size", type=at_least(1), default=16, help="examples per batch [16]")
    add("--steps", type=at_least(1), default=20, help="timed steps of each variant [20]")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    return run(make_parser(), work, argv, extra="train")


def work(args: argparse.Namespace) -> int:
    """Measures all variants, prints the table and writes JSON if --json is given. Returns 0."""
    if args.variant:
        print(json.dumps(measure_variant(args.variant, args.models[0], args.batch_size, args.steps)))
        return 0
    rows = []
    for model in args.models:
        for variant in VARIANTS:
            options = ["--models", model, "--steps", args.steps, "--batch-size", args.batch_size]
            rows.append({"model": model, "variant": variant, **run_variant(__file__, variant, *options)})
            print(rows[-1], file=sys.stderr, flush=True)
    print(f"batches of {args.batch_size}, medians of {args.steps} steps")
    write_results(table_lines(rows), rows, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
