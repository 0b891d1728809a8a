"""Compares exported files with the Keras network, on the same drawings and in the runtime of each format."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from tfrecords_schema import Palette
from training.errors import WorkError
from training.metrics.color_spaces import HINT_CHANNELS, hint_table
from training.models.inputs import call

# Rounding in another order changes probabilities by about 1e-6; a change of 1e-3 is visible in no picture.
MAX_DIFFERENCE = 1e-3
MIN_EQUAL_FRACTION = 0.999
TIMED_SIDE = 128  # pixels per side of the timed drawing
TIMED_RUNS = 9
NUM_HINTS = 12  # per test drawing, for networks that take hints

NUM_WANTED = 3  # colours of a test reference

# The inputs of a network by name: "drawing", float32 [B, H, W, C], and for some "reference", float32 [B, K].
Inputs = dict[str, np.ndarray]
# Maps inputs to logits, float32 [B, H, W, K].
Runner = Callable[[Inputs], np.ndarray]


@dataclass(frozen=True)
class Parity:
    """The comparison of one exported file with the Keras network.

    Attributes:
      format: one of `FORMATS`.
      megabytes: size of the file.
      max_difference: largest absolute difference of a probability.
      equal_fraction: fraction of pixels with the same most probable colour.
      milliseconds: median time for one drawing of 128 px, rounded up to a multiple of the stride.
    """

    format: str
    megabytes: float
    max_difference: float
    equal_fraction: float
    milliseconds: float

    def check(self) -> Parity:
        """Returns self.

        Raises:
          WorkError: the file differs from Keras by more than rounding.
        """
        # Written so that a NaN does not pass.
        if self.max_difference <= MAX_DIFFERENCE and self.equal_fraction >= MIN_EQUAL_FRACTION:
            return self
        raise WorkError(
            f"the {self.format} export differs from Keras: probabilities by up to {self.max_difference:.2g} "
            f"(allowed: {MAX_DIFFERENCE:g}), and {self.equal_fraction:.2%} of the pixels have the same "
            f"colour (required: {MIN_EQUAL_FRACTION:.1%}). Nothing was written: choose other formats=..., "
            "and report this"
        )


def format_table(rows: list[Parity]) -> str:
    """Returns one line per format, below the headings of the columns."""
    lines = [f"{'format':13}{'MB':>8}{'max |Δp|':>12}{'argmax equal':>15}{'ms per 128 px':>16}"]
    for row in rows:
        lines.append(
            f"{row.format:13}{row.megabytes:8.2f}{row.max_difference:12.1e}{row.equal_fraction:15.4%}{row.milliseconds:16.1f}"
        )
    return "\n".join(lines)


def compare(net: keras.Model, files: dict[str, Path], batches: list[Inputs], stride: int) -> list[Parity]:
    """Compares exported files with the Keras network.

    Args:
      net: the network, from its inputs to logits.
      files: paths by format.
      batches: as `with_references` returns them.
      stride: stride of the network.
    """
    runners = {name: OPENERS[name](path) for name, path in files.items()}
    differences = dict.fromkeys(files, 0.0)
    equal_pixels = dict.fromkeys(files, 0)
    pixels = 0
    for batch in batches:
        expected = _probabilities(_run_keras(net, batch))
        pixels += expected[..., 0].size
        for name, runner in runners.items():
            actual = _probabilities(runner(batch))
            # Not max(), which ignores a NaN.
            differences[name] = float(np.maximum(differences[name], np.abs(actual - expected).max()))
            equal_pixels[name] += int((actual.argmax(-1) == expected.argmax(-1)).sum())
    timed = {name: values[:1] for name, values in batches[0].items()}
    repeats = -(-TIMED_SIDE // timed["drawing"].shape[1])
    tiled = np.tile(timed["drawing"], (1, repeats, repeats, 1))
    timed["drawing"] = _pad(tiled[:, :TIMED_SIDE, :TIMED_SIDE], stride)
    return [
        Parity(
            name,
            _megabytes(path),
            differences[name],
            equal_pixels[name] / pixels,
            _measure_milliseconds(runners[name], timed),
        )
        for name, path in files.items()
    ]


def test_drawings(edges: np.ndarray, stride: int, palette: Palette, hints: bool) -> list[np.ndarray]:
    """Returns batches of several sizes, square and not, padded with paper to multiples of the stride.

    Args:
      edges: uint8 [N, S, S] in {0, 1}, N at least 2.
      stride: stride of the network.
      palette: the colours of the hints.
      hints: whether to add channels with random hints.

    Returns:
      Arrays float32 [B, H, W, 1], or [B, H, W, 5] with hints.
    """
    first, second = edges[:2]
    size = edges.shape[1]
    sizes = [
        edges[:2],
        np.concatenate([first, second], 1)[None, :, : 2 * size - 5],
        np.concatenate([first, second], 0)[None, : 3 * size // 2 + 1],
        second[None, : size // 2 + 3, : size // 2 + 3],
    ]
    batches = [batch[..., None].astype(np.float32) for batch in sizes]
    if hints:
        batches = [np.concatenate([batch, _random_hints(batch.shape[:3], palette)], -1) for batch in batches]
    return [_pad(batch, stride) for batch in batches]


def with_references(drawings: list[np.ndarray], colors: int) -> list[Inputs]:
    """Returns each batch of drawings without a reference, and with random ones.

    Args:
      drawings: batches as `test_drawings` returns them.
      colors: K; 0 for a network that takes no reference, for which each batch is returned once.
    """
    if not colors:
        return [{"drawing": batch} for batch in drawings]
    rng = np.random.default_rng(0)
    batches = []
    for batch in drawings:
        wanted = np.zeros((len(batch), colors), np.float32)
        for weights in wanted:
            labels = rng.choice(colors, min(NUM_WANTED, colors), replace=False)
            weights[labels] = rng.dirichlet(np.ones(len(labels)))
        batches += [
            {"drawing": batch, "reference": reference} for reference in (np.zeros_like(wanted), wanted)
        ]
    return batches


def scribbles(size: int, count: int = 2) -> np.ndarray:
    """Returns drawings of random circles and lines, uint8 [N, S, S] in {0, 1}, for runs without a dataset."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:size, :size]
    edges = np.zeros((count, size, size), np.uint8)
    for drawing in edges:
        for _ in range(6):
            y, x, radius = (*rng.uniform(0, size, 2), rng.uniform(size / 16, size / 3))
            drawing |= np.abs(np.hypot(rows - y, columns - x) - radius) < 0.6
            drawing |= np.abs((rows - y) + (columns - x) * rng.uniform(-1, 1)) < 0.6
    return edges


def _random_hints(shape: tuple[int, ...], palette: Palette) -> np.ndarray:
    rng = np.random.default_rng(0)
    table = hint_table(palette)
    channels = np.zeros((*shape, HINT_CHANNELS), np.float32)
    for drawing in channels:
        for y, x in rng.integers(0, [shape[1] - 2, shape[2] - 2], (NUM_HINTS, 2)):
            drawing[y : y + 3, x : x + 3] = table[1 + rng.integers(len(palette))]
    return channels


def _pad(drawings: np.ndarray, stride: int) -> np.ndarray:
    height, width = drawings.shape[1:3]
    return np.pad(drawings, ((0, 0), (0, -height % stride), (0, -width % stride), (0, 0)))


def _probabilities(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def _measure_milliseconds(runner: Runner, inputs: Inputs) -> float:
    runner(inputs)  # the first call with a size also allocates memory
    times = []
    for _ in range(TIMED_RUNS):
        start = time.perf_counter()
        runner(inputs)
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


def _megabytes(path: Path) -> float:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files) / 1e6


# ------------------------------------------------------------------------------------------- runtimes


def _open_keras(path: Path) -> Runner:
    net = keras.models.load_model(path, compile=False)
    return lambda inputs: _run_keras(net, inputs)


def _run_keras(net: keras.Model, inputs: Inputs) -> np.ndarray:
    return keras.ops.convert_to_numpy(call(net, inputs["drawing"], inputs.get("reference")))


def _open_saved_model(path: Path) -> Runner:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))

    def run(inputs: Inputs) -> np.ndarray:
        return loaded.serve(**{name: tf.constant(values) for name, values in inputs.items()})[
            "logits"
        ].numpy()

    return run


def _open_onnx(path: Path) -> Runner:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(["logits"], inputs)[0]


def _open_litert(path: Path) -> Runner:
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(str(path), num_threads=len(os.sched_getaffinity(0))).get_signature_runner()
    return lambda inputs: run(**inputs)["logits"]


OPENERS = {"keras": _open_keras, "saved_model": _open_saved_model, "onnx": _open_onnx, "litert": _open_litert}
