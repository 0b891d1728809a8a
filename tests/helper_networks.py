"""Tiny exported networks for tests. They are untrained, but their output depends on all their inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tfrecords_schema import Palette
from training.export.metadata import ExportMetadata, format_version

PALETTE = Palette(
    "tests", ((24, 104, 186), (98, 184, 82), (255, 208, 22), (206, 88, 66), (250, 248, 240), (28, 22, 30))
)
STRIDE = 8
OBEDIENCE = 100


def write_export(
    directory: Path,
    hints: bool = False,
    seed: int = 0,
    size: int = 64,
    reference: bool = False,
    prior: list[float] | None = None,
) -> Path:
    """Writes an export whose network is one random convolution of 15 × 15 pixels; returns its directory.

    With `reference`, `OBEDIENCE` times the wanted fraction of a colour is added to its score.
    """
    directory.mkdir(parents=True)
    channels = 5 if hints else 1
    weights = np.random.default_rng(seed).normal(0, 0.3, (len(PALETTE), channels, 15, 15)).astype(np.float32)
    bias = np.linspace(1, -1, len(PALETTE)).astype(np.float32)
    nodes = [
        helper.make_node("Transpose", ["drawing"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["nchw", "weights", "bias"], ["scores"], pads=[7, 7, 7, 7]),
        helper.make_node("Transpose", ["scores"], ["logits"], perm=[0, 2, 3, 1]),
    ]
    # The reference is the first input, because the order must not matter.
    inputs = [helper.make_tensor_value_info("drawing", TensorProto.FLOAT, ["b", "h", "w", channels])]
    initializers = [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")]
    if reference:
        inputs.insert(0, helper.make_tensor_value_info("reference", TensorProto.FLOAT, ["b", len(PALETTE)]))
        nodes[-1].output[0] = "from_lines"
        nodes += [
            helper.make_node("Mul", ["reference", "obedience"], ["wanted"]),
            helper.make_node("Unsqueeze", ["wanted", "axes"], ["wanted_everywhere"]),
            helper.make_node("Add", ["from_lines", "wanted_everywhere"], ["logits"]),
        ]
        initializers += [
            numpy_helper.from_array(np.float32(OBEDIENCE), "obedience"),
            numpy_helper.from_array(np.array([1, 2]), "axes"),
        ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        inputs,
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", "h", "w", len(PALETTE)])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, directory / "model.onnx")
    metadata = ExportMetadata(
        format_version=format_version(reference), model="tiny", image_size=size, stride=STRIDE, hints=hints,
        palette=PALETTE, recipe={}, dataset_fingerprint="0" * 16, files={"onnx": "model.onnx"}, scores={},
        linewash_version="0.1.0", reference=reference, prior=prior,
    )  # fmt: skip
    (directory / "export.json").write_bytes(metadata.to_json())
    return directory
