"""Whether the exported files say what Keras says: the same drawings, through each format's own runtime."""

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

# Rounding in another order moves probabilities by about 1e-6; a thousandth is seen in no picture.
MOST_DIFFERENCE = 1e-3
LEAST_EQUAL = 0.999
TIMED_SIDE = 128  # pixels of the drawing that is timed
TIMED_RUNS = 9
DABS = 12  # hints in each drawing, for networks that take them

# From drawings, float32 [B, H, W, C], to logits, float32 [B, H, W, K].
Runner = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Parity:
    """How one file compares with the network in Keras.

    `difference` is the largest of any probability, `equal` the share of pixels that get the same colour;
    `milliseconds` are the median for one drawing of 128 px (or the next multiple of the stride), alone.
    """

    format: str
    megabytes: float
    difference: float
    equal: float
    milliseconds: float

    def check(self) -> Parity:
        """Returns itself.

        Raises:
          WorkError: it says something else than Keras.
        """
        # So asked that a NaN does not pass.
        if self.difference <= MOST_DIFFERENCE and self.equal >= LEAST_EQUAL:
            return self
        raise WorkError(
            f"{self.format} does not say what Keras says: probabilities differ by up to "
            f"{self.difference:.2g} (at most {MOST_DIFFERENCE:g} is right) and {self.equal:.2%} of the "
            f"pixels get the same colour (at least {LEAST_EQUAL:.1%} is right); nothing was written: choose "
            "other formats=..., and report this"
        )


def table(rows: list[Parity]) -> str:
    """One line a format, under the names of the columns."""
    lines = [f"{'format':13}{'MB':>8}{'max |Δp|':>12}{'argmax equal':>15}{'ms per 128 px':>16}"]
    for row in rows:
        lines.append(
            f"{row.format:13}{row.megabytes:8.2f}{row.difference:12.1e}{row.equal:15.4%}{row.milliseconds:16.1f}"
        )
    return "\n".join(lines)


def compare(
    net: keras.Model, files: dict[str, Path], drawings: list[np.ndarray], stride: int
) -> list[Parity]:
    """Compares each file, by format, with `net` on batches as `test_drawings` gives them."""
    runners = {name: OPEN[name](path) for name, path in files.items()}
    differences = dict.fromkeys(files, 0.0)
    equal = dict.fromkeys(files, 0)
    pixels = 0
    for batch in drawings:
        expected = _probabilities(keras.ops.convert_to_numpy(net(batch, training=False)))
        pixels += expected[..., 0].size
        for name, runner in runners.items():
            found = _probabilities(runner(batch))
            # Not max(), which forgets a NaN.
            differences[name] = float(np.maximum(differences[name], np.abs(found - expected).max()))
            equal[name] += int((found.argmax(-1) == expected.argmax(-1)).sum())
    # As often beside itself as makes a drawing of that size.
    once = drawings[0][:1]
    times = -(-TIMED_SIDE // once.shape[1])
    timed = _padded(np.tile(once, (1, times, times, 1))[:, :TIMED_SIDE, :TIMED_SIDE], stride)
    return [
        Parity(name, _megabytes(path), differences[name], equal[name] / pixels, _time(runners[name], timed))
        for name, path in files.items()
    ]


def test_drawings(edges: np.ndarray, stride: int, palette: Palette, hints: bool) -> list[np.ndarray]:
    """Batches of several sizes, square and not, padded with empty paper to multiples of the stride.

    Args:
      edges: uint8 [N, S, S] in {0, 1}, at least two. hints: with dabs of the palette's colours in them.

    Returns:
      float32 [B, H, W, 1], or [B, H, W, 5] with hints.
    """
    first, second = edges[:2]
    size = edges.shape[1]
    sizes = [
        edges[:2],
        np.concatenate([first, second], 1)[None, :, : 2 * size - 5],
        np.concatenate([first, second], 0)[None, : 3 * size // 2 + 1],
        second[None, : size // 2 + 3, : size // 2 + 3],
    ]
    batches = [each[..., None].astype(np.float32) for each in sizes]
    if hints:
        batches = [np.concatenate([each, _dabs(each.shape[:3], palette)], -1) for each in batches]
    return [_padded(each, stride) for each in batches]


def scribbles(size: int, count: int = 2) -> np.ndarray:
    """Rings and bars as line drawings, uint8 [N, S, S] in {0, 1}: where there is no dataset."""
    rng = np.random.default_rng(0)
    down, right = np.mgrid[:size, :size]
    edges = np.zeros((count, size, size), np.uint8)
    for drawing in edges:
        for _ in range(6):
            y, x, radius = (*rng.uniform(0, size, 2), rng.uniform(size / 16, size / 3))
            drawing |= np.abs(np.hypot(down - y, right - x) - radius) < 0.6
            drawing |= np.abs((down - y) + (right - x) * rng.uniform(-1, 1)) < 0.6
    return edges


def _dabs(shape: tuple[int, ...], palette: Palette) -> np.ndarray:
    rng = np.random.default_rng(0)
    table = hint_table(palette)
    channels = np.zeros((*shape, HINT_CHANNELS), np.float32)
    for drawing in channels:
        for y, x in rng.integers(0, [shape[1] - 2, shape[2] - 2], (DABS, 2)):
            drawing[y : y + 3, x : x + 3] = table[1 + rng.integers(len(palette))]
    return channels


def _padded(drawings: np.ndarray, stride: int) -> np.ndarray:
    height, width = drawings.shape[1:3]
    return np.pad(drawings, ((0, 0), (0, -height % stride), (0, -width % stride), (0, 0)))


def _probabilities(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _time(runner: Runner, drawing: np.ndarray) -> float:
    runner(drawing)  # the first of a size also makes room
    times = []
    for _ in range(TIMED_RUNS):
        start = time.perf_counter()
        runner(drawing)
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


def _megabytes(path: Path) -> float:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files) / 1e6


# ------------------------------------------------------------------------------------------- runtimes


def _open_keras(path: Path) -> Runner:
    net = keras.models.load_model(path, compile=False)
    return lambda drawings: keras.ops.convert_to_numpy(net(drawings, training=False))


def _open_saved_model(path: Path) -> Runner:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    return lambda drawings: loaded.serve(tf.constant(drawings))["logits"].numpy()


def _open_onnx(path: Path) -> Runner:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda drawings: session.run(["logits"], {"drawing": drawings})[0]


def _open_litert(path: Path) -> Runner:
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(str(path), num_threads=len(os.sched_getaffinity(0))).get_signature_runner()
    return lambda drawings: run(drawing=drawings)["logits"]


OPEN = {"keras": _open_keras, "saved_model": _open_saved_model, "onnx": _open_onnx, "litert": _open_litert}
