"""How long it takes to colour a drawing, beside the same network in Keras.

    python scripts/bench/inference.py

First the network alone: the starter that comes along, an ONNX file, beside Keras's predict, a call of the
model, and the same compiled by tf.function, all with the starter's shape, in processes of their own. Then all
of it for one sketch in a process that is up, as the page has it: finding the lines, the network, and the
picture. Last the command `colorize.py`, from its start to its exit, beside a script that does no more than
load TensorFlow and the network from a .keras file and predict once.
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

from bench.harness import in_own_process, options, tell
from linewash.coloring.arguments import Parser, at_least, run

if TYPE_CHECKING:
    import numpy as np

SIDES = (128, 256, 512)  # px
TIMES = 20  # that a drawing is coloured
STARTS = 5  # of a command, at most

Predict = Callable[["np.ndarray"], "np.ndarray"]


def starter() -> Predict:
    """What comes along, as the page and the command use it."""
    from linewash.coloring.model_loader import STARTER, load

    return load(STARTER).predict


def keras_net() -> Any:
    """A network of the starter's shape; its weights are as they began."""
    from linewash.coloring.model_loader import STARTER, load

    from training.hydra_config import compose
    from training.models import build_model

    config = compose(["data.root=none", "model=unet", "model.hints=true"]).model
    return build_model(config, len(load(STARTER).palette), seed=0)


def keras_predict() -> Predict:
    """What one would write first."""
    net = keras_net()
    return lambda drawing: net.predict(drawing, verbose=0)


def keras_call() -> Predict:
    """Without what predict does around it."""
    net = keras_net()
    return lambda drawing: net(drawing, training=False).numpy()


def keras_function() -> Predict:
    """Compiled, for each size once."""
    import tensorflow as tf

    net = keras_net()
    compiled = tf.function(lambda drawing: net(drawing, training=False))
    return lambda drawing: compiled(tf.constant(drawing)).numpy()


WAYS = {
    "linewash (ONNX)": starter,
    "Keras, predict": keras_predict,
    "Keras, call": keras_call,
    "Keras, tf.function": keras_function,
}


def time_way(name: str, repeats: int) -> dict[str, float]:
    """Median milliseconds for a drawing of each side."""
    import numpy as np

    predict, generator = WAYS[name](), np.random.default_rng(0)
    times = {}
    for side in SIDES:
        drawing = np.zeros((1, side, side, 5), np.float32)
        drawing[..., 0] = generator.random((side, side)) < 0.1
        times[str(side)] = median_ms(functools.partial(predict, drawing), repeats)
    return times


def median_ms(function: Callable[[], Any], repeats: int) -> float:
    """Milliseconds a call, after one to warm up."""
    function()
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken) * 1e3


def whole(sketch: Path, repeats: int) -> dict[str, float]:
    """Median milliseconds of what colouring one sketch consists of."""
    from linewash.coloring.colorizer import Settings, colorize, network_shape
    from linewash.coloring.line_extraction import read_drawing
    from linewash.coloring.model_loader import STARTER, load

    network, data = load(STARTER), sketch.read_bytes()
    drawing = read_drawing(data)
    lines = drawing.lines(*network_shape(*drawing.shape, network.image_size))
    return {
        "find the lines": median_ms(lambda: read_drawing(data), repeats),
        "network": median_ms(lambda: network.logits(lines), repeats),
        "network and picture": median_ms(lambda: colorize(drawing, network, Settings())[0].rgb(), repeats),
    }


BARE = """
import sys, numpy, keras
net = keras.models.load_model(sys.argv[1], compile=False)
net.predict(numpy.zeros((1, 128, 128, 5), numpy.float32), verbose=0)
"""


def commands(sketch: Path, folder: Path, repeats: int) -> dict[str, float]:
    """Seconds of whole processes, in turn."""
    net = folder / "net.keras"
    save = "import sys; from bench.inference import keras_net; keras_net().save(sys.argv[1])"
    subprocess.run([sys.executable, "-c", save, str(net)], cwd=SCRIPTS, check=True, capture_output=True)
    typed = {
        "colorize.py": ["scripts/colorize.py", str(sketch), "-o", str(folder / "out.png")],
        "TensorFlow, load, predict": ["-c", BARE, str(net)],
    }
    taken: dict[str, list[float]] = {name: [] for name in typed}
    for _ in range(min(STARTS, repeats)):
        for name, arguments in typed.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True)
            taken[name].append(time.perf_counter() - started)
    return {name: statistics.median(times) for name, times in taken.items()}


def show(found: dict[str, Any]) -> Iterator[str]:
    """The tables' lines; a ratio is theirs to ours."""
    yield f"{'network alone, ms':28}" + "".join(f"{side:>8} px" for side in SIDES) + f"{'ours is':>20}"
    ours = found["network_ms"]["linewash (ONNX)"]
    for name, times in found["network_ms"].items():
        ratios = " ".join(f"{times[str(side)] / ours[str(side)]:.1f}×" for side in SIDES)
        yield f"{name:28}" + "".join(f"{times[str(side)]:11.1f}" for side in SIDES) + f"{ratios:>20}"
    yield "a sketch, ms: " + ", ".join(f"{name} {ms:.0f}" for name, ms in found["sketch_ms"].items())
    yield "whole command, s: " + ", ".join(f"{name} {s:.2f}" for name, s in found["command_s"].items())


def parser() -> Parser:
    """Every flag."""
    made = options("bench/inference", __doc__)
    made.add_argument(
        "--repeats", type=at_least(1), default=TIMES, help=f"of which the median counts [{TIMES}]"
    )
    return made


def main(words: list[str] | None = None) -> int:
    """Answers the command line; returns the exit code."""
    return run(parser(), work, words, extra="train,onnx")


def work(args: argparse.Namespace) -> int:
    """Prints the tables; writes JSON with --json; 0."""
    import make_sketches

    if args.way:
        print(json.dumps(time_way(args.way, args.repeats)))
        return 0
    found: dict[str, Any] = {
        "network_ms": {way: in_own_process(__file__, way, "--repeats", args.repeats) for way in WAYS}
    }
    with tempfile.TemporaryDirectory(prefix="linewash-bench-") as temporary:
        folder = Path(temporary)
        make_sketches.main([str(folder / "sketches")])
        sketch = folder / "sketches/drawings/01-ink.png"
        found |= {
            "sketch_ms": whole(sketch, args.repeats),
            "command_s": commands(sketch, folder, args.repeats),
        }
    tell(show(found), found, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
