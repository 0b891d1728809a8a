"""Measures how long colouring a drawing takes, and compares it with the same network in Keras.

    python scripts/bench/inference.py

- The network alone: the starter model as ONNX, and a Keras model of the same architecture through predict,
  through a call, and compiled with tf.function. The weights of the Keras model are untrained.
  Each variant runs in a process of its own.
- One sketch in a running process, as on the page: line extraction, network, and label decoding.
- The command colorize.py from start to exit, and a script that only loads TensorFlow and a .keras file and
  predicts once.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
sys.path[:0] = [str(ROOT), str(SCRIPTS)]

from bench.harness import benchmark_parser, run_variant, write_results
from bench.processes import python_command, run_timed
from linewash.arguments import Parser, at_least, run

if TYPE_CHECKING:
    import numpy as np

SIDES = (128, 256, 512)  # px
REPEATS = 20  # timed calls
MAX_COMMAND_REPEATS = 5

Predict = Callable[["np.ndarray"], "np.ndarray"]


def starter_predict() -> Predict:
    """Returns the prediction of the starter model, as the page and colorize.py use it."""
    from linewash.coloring.model_loader import STARTER, load

    return load(STARTER).predict


def keras_net() -> Any:
    """Returns a Keras model of the starter's architecture with untrained weights."""
    from linewash.coloring.model_loader import STARTER, load

    from training.hydra_config import compose
    from training.models import build_model

    config = compose(["data.root=none", "model=unet", "model.hints=true"]).model
    return build_model(config, len(load(STARTER).palette), seed=0)


def keras_predict() -> Predict:
    """Returns `Model.predict`."""
    net = keras_net()
    return lambda drawing: net.predict(drawing, verbose=0)


def keras_call() -> Predict:
    """Returns a plain call of the model, without the callbacks and batching of predict."""
    net = keras_net()
    return lambda drawing: net(drawing, training=False).numpy()


def keras_function() -> Predict:
    """Returns a call compiled with tf.function, which compiles once per drawing size."""
    import tensorflow as tf

    net = keras_net()
    compiled = tf.function(lambda drawing: net(drawing, training=False))
    return lambda drawing: compiled(tf.constant(drawing)).numpy()


VARIANTS = {
    "linewash (ONNX)": starter_predict,
    "Keras, predict": keras_predict,
    "Keras, call": keras_call,
    "Keras, tf.function": keras_function,
}


def time_variant(name: str, repeats: int) -> dict[str, float]:
    """Returns the median milliseconds for a drawing of each of `SIDES`."""
    import numpy as np

    predict, generator = VARIANTS[name](), np.random.default_rng(0)
    times = {}
    for side in SIDES:
        drawing = np.zeros((1, side, side, 5), np.float32)
        drawing[..., 0] = generator.random((side, side)) < 0.1
        times[str(side)] = median_ms(functools.partial(predict, drawing), repeats)
    return times


def median_ms(function: Callable[[], Any], repeats: int) -> float:
    """Returns the median milliseconds of a call, after one call to warm up."""
    function()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e3


def time_stages(sketch: Path, repeats: int) -> dict[str, float]:
    """Returns the median milliseconds of the stages of colouring one sketch."""
    from linewash.coloring.colorizer import Settings, colorize, network_shape
    from linewash.coloring.line_extraction import read_drawing
    from linewash.coloring.model_loader import STARTER, load

    network, data = load(STARTER), sketch.read_bytes()
    drawing = read_drawing(data)
    lines = drawing.lines(*network_shape(*drawing.shape, network.image_size))
    return {
        "find the lines": median_ms(lambda: read_drawing(data), repeats),
        "network": median_ms(lambda: network.logits(lines), repeats),
        "network and picture": median_ms(
            lambda: colorize(drawing, network, Settings())[0].rgb(lines=False), repeats
        ),
    }


KERAS_SCRIPT = """
import sys, numpy, keras
net = keras.models.load_model(sys.argv[1], compile=False)
net.predict(numpy.zeros((1, 128, 128, 5), numpy.float32), verbose=0)
"""


def time_commands(sketch: Path, folder: Path, repeats: int) -> dict[str, float]:
    """Returns the median seconds of each command from start to exit. The commands take turns."""
    net = folder / "net.keras"
    save = "import sys; from bench.inference import keras_net; keras_net().save(sys.argv[1])"
    subprocess.run([sys.executable, "-c", save, str(net)], cwd=SCRIPTS, check=True, capture_output=True)
    commands = {
        "colorize.py": python_command("scripts/colorize.py", sketch, "-o", folder / "out.png"),
        "TensorFlow, load, predict": python_command("-c", KERAS_SCRIPT, net),
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(min(MAX_COMMAND_REPEATS, repeats)):
        for name, command in commands.items():
            times[name].append(run_timed(command))
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def table_lines(results: dict[str, Any]) -> Iterator[str]:
    """Yields the lines of the tables. A ratio is the variant's time to linewash's."""
    yield f"{'network alone, ms':28}" + "".join(f"{side:>8} px" for side in SIDES) + f"{'linewash is':>20}"
    linewash = results["network_ms"]["linewash (ONNX)"]
    for name, times in results["network_ms"].items():
        ratios = " ".join(f"{times[str(side)] / linewash[str(side)]:.1f}×" for side in SIDES)
        yield f"{name:28}" + "".join(f"{times[str(side)]:11.1f}" for side in SIDES) + f"{ratios:>20}"
    yield "one sketch, ms: " + ", ".join(f"{name} {ms:.0f}" for name, ms in results["sketch_ms"].items())
    yield "whole command, s: " + ", ".join(f"{name} {s:.2f}" for name, s in results["command_s"].items())


def make_parser() -> Parser:
    """Returns the parser of the command line."""
    parser = benchmark_parser("bench/inference", __doc__)
    parser.add_argument(
        "--repeats", type=at_least(1), default=REPEATS, help=f"timed calls of each variant [{REPEATS}]"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    return run(make_parser(), work, argv, extra="train,onnx")


def work(args: argparse.Namespace) -> int:
    """Measures all variants, prints the tables and writes JSON if --json is given. Returns 0."""
    import make_sketches

    if args.variant:
        print(json.dumps(time_variant(args.variant, args.repeats)))
        return 0
    results: dict[str, Any] = {
        "network_ms": {
            variant: run_variant(__file__, variant, "--repeats", args.repeats) for variant in VARIANTS
        }
    }
    with tempfile.TemporaryDirectory(prefix="linewash-bench-") as temporary:
        folder = Path(temporary)
        make_sketches.main([str(folder / "sketches")])
        sketch = folder / "sketches/drawings/01-ink.png"
        results["sketch_ms"] = time_stages(sketch, args.repeats)
        results["command_s"] = time_commands(sketch, folder, args.repeats)
    write_results(table_lines(results), results, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
