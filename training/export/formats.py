"""Writes a trained network in the formats of other runtimes, and checks each against Keras.

ONNX is made by tf2onnx, which is alive again (1.17 takes NumPy 2 and current protobuf) and at which Keras's
own `format="onnx"` ends too; LiteRT by TensorFlow's converter. Both start from one trace of a
`portable_copy`: with its sides left open, LiteRT cannot convert a network that enlarges as Keras does, and
each attention takes tf2onnx half a minute. Of the other roads, Keras's through PyTorch fixes the sides, and
JAX's brings a second framework. tf2onnx gathers the transpositions at the two ends: what lies between runs
without copies.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import msgspec
import numpy as np
import tensorflow as tf
from PIL import Image

from tfrecords_schema import __version__, unpack_edges
from training.data.dataset import ShardedDataset
from training.errors import WorkError
from training.evaluate.evaluation import judge, load_network
from training.export import parity
from training.export.metadata import EXPORT_NAME, FORMAT_VERSION, FORMATS, ExportMetadata
from training.export.model_card import CARD_NAME, Facts, draw_palette, write_card
from training.export.portable import inference_copy, portable_copy
from training.models.predict import predict_labels
from training.run.run_info import RunInfo
from training.run.sample_grid import draw_sample_grid
from training.tf_startup import capture_stderr, show_status

# ONNX Runtime takes it since 1.14, of 2023; tf2onnx goes no higher.
OPSET = 18
AXES = ("batch", "height", "width")
SHOWN = 4  # examples in panel.png


@dataclass(frozen=True)
class Source:
    """A run to export: what its run.json says, `record` whole, and the dataset while it is still there."""

    run: RunInfo
    record: dict[str, Any]
    network: Path
    dataset: ShardedDataset | None


class _Judged(msgspec.Struct):
    """What an evaluation.json must hold to be used."""

    network: str
    fingerprint: str
    split: str
    examples: int
    scores: dict[str, dict[str, float | None]]


def export(source: Source, formats: list[str], directory: Path, notes: list[str]) -> str:
    """Writes the formats, export.json and the card into `directory`; returns what is to be printed.

    Raises:
      WorkError: the network or a shard is damaged, a format cannot be made, or one says something else than
        Keras.
    """
    run = source.run
    trained = load_network(source.network, run.palette)
    evaluation = _evaluation(source)
    net = inference_copy(trained, run.gives_logits)
    doing = show_status(f"writing {', '.join(formats)}, and comparing them with Keras")
    with doing, tempfile.TemporaryFile() as noise, capture_stderr(noise):
        files = _write_formats(net, formats, directory)
        rows = [row.check() for row in parity.compare(net, files, _drawings(source, net), run.stride)]
    exported = ExportMetadata(
        format_version=FORMAT_VERSION,
        model=source.record["model"]["name"],
        image_size=run.image_size,
        stride=run.stride,
        hints=net.input_shape[-1] > 1,
        palette=run.palette,
        recipe=source.dataset.manifest.recipe if source.dataset else {},
        dataset_fingerprint=run.fingerprint,
        files={name: path.name for name, path in files.items()},
        scores=evaluation["scores"] if evaluation else {},
        linewash_version=__version__,
    )
    (directory / EXPORT_NAME).write_bytes(exported.to_json())
    draw_palette(run.palette).save(directory / "palette.png")
    panel = _write_panel(source, net, directory)
    facts = Facts(net.count_params(), source.network.name, source.record, evaluation, notes, panel)
    (directory / CARD_NAME).write_text(write_card(exported, rows, facts))
    return parity.table(rows)


# -------------------------------------------------------------------------------------------- formats


def _write_formats(net: keras.Model, formats: list[str], directory: Path) -> dict[str, Path]:
    """Writes each format under its name; returns them in the order of `FORMATS`."""
    files = {name: directory / file for name, file in FORMATS.items() if name in formats}
    with tempfile.TemporaryDirectory() as scratch:
        # LiteRT is made from a SavedModel, wanted or not.
        saved = files.get("saved_model", Path(scratch) / "saved_model")
        if "keras" in files:
            net.save(files["keras"])
        if set(files) != {"keras"}:
            module = _traced(portable_copy(net))
        if {"saved_model", "litert"} & set(files):
            with _converting("saved_model"):
                tf.saved_model.save(module, str(saved), module.serve.get_concrete_function())
        if "onnx" in files:
            with _converting("onnx"):
                _write_onnx(module.serve, files["onnx"])
        if "litert" in files:
            with _converting("litert"):
                converter = tf.lite.TFLiteConverter.from_saved_model(str(saved))
                files["litert"].write_bytes(converter.convert())
    return files


def _traced(net: keras.Model) -> tf.Module:
    """A module with `serve`, from "drawing", float32 [B, H, W, C] of any size, to {"logits": …}."""
    spec = tf.TensorSpec(net.input_shape, tf.float32, "drawing")
    module = tf.Module("linewash")
    # What a SavedModel saves is what hangs on the module.
    module.weights = [variable.value for variable in net.variables]
    module.serve = tf.function(
        lambda drawing: {"logits": net(drawing, training=False)}, input_signature=[spec]
    )
    return module


def _write_onnx(serve: Any, path: Path) -> None:
    import onnx
    import tf2onnx

    model, _ = tf2onnx.convert.from_function(serve, serve.input_signature, opset=OPSET)
    for value in (*model.graph.input, *model.graph.output):
        for axis, name in zip(value.type.tensor_type.shape.dim, AXES, strict=False):
            axis.dim_param = name
    model.producer_name, model.producer_version = "linewash", __version__
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


@contextmanager
def _converting(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, MemoryError):
        raise
    # Converters raise anything, with a page of text.
    except Exception as e:
        reason = str(e).strip().split("\n")[0][:200]
        others = ",".join(other for other in FORMATS if other != name)
        raise WorkError(
            f"{name} could not be made of this network ({type(e).__name__}: {reason}); leave it out with "
            f"formats={others}, and report this"
        ) from e


# ------------------------------------------------------------------------- drawings, scores, pictures


def _examples(source: Source, count: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Edges uint8 [N, S, S] in {0, 1} and labels [N, S, S] of the first examples that were not trained on."""
    dataset = source.dataset
    if dataset is None or not dataset.examples(dataset.selection_split):
        return None
    packed, labels, _ = next(dataset.eval(dataset.selection_split, count))
    edges = [unpack_edges(row.tobytes(), dataset.manifest.image_size) for row in packed.numpy()]
    return np.stack(edges), labels.numpy()


def _drawings(source: Source, net: keras.Model) -> list[np.ndarray]:
    found = _examples(source, 2)
    edges = found[0] if found and len(found[0]) == 2 else parity.scribbles(source.run.image_size)
    return parity.test_drawings(edges, source.run.stride, source.run.palette, net.input_shape[-1] > 1)


def _evaluation(source: Source) -> dict[str, Any] | None:
    """What evaluation.json says, judged now if there is none of this network; None without the dataset."""
    run, dataset = source.run, source.dataset
    path = run.directory / "evaluation.json"
    if found := _read_evaluation(path, source):
        return found
    if dataset is None or not dataset.examples(dataset.selection_split):
        return None
    evaluation = judge(run, source.network, dataset, dataset.selection_split)
    if not path.exists():
        evaluation.write(run.directory, [])
    return evaluation.content([])


def _read_evaluation(path: Path, source: Source) -> dict[str, Any] | None:
    """None unless it is of this very network, on the dataset that it was trained on."""
    try:
        content = msgspec.convert(json.loads(path.read_text()), dict[str, Any])
        judged = msgspec.convert(content, _Judged)
        same = Path(judged.network).name == source.network.name
        same = same and judged.fingerprint == source.run.fingerprint
    except (OSError, ValueError, RecursionError, msgspec.MsgspecError):  # as good as none
        return None
    # Training may have gone on since.
    return content if same and path.stat().st_mtime >= source.network.stat().st_mtime else None


def _write_panel(source: Source, net: keras.Model, directory: Path) -> str | None:
    """Writes panel.png; returns what it shows, or None when there is nothing to show."""
    path = directory / "panel.png"
    if found := _examples(source, SHOWN):
        edges, labels = found
        predicted = predict_labels(net, edges, source.run.stride)
        Image.fromarray(draw_sample_grid(edges, labels, predicted, source.run.palette)).save(path)
        return "Drawing | truth | prediction, for examples of its dataset."
    before = source.run.directory / "panel.png"
    if not before.is_file():
        return None
    path.write_bytes(before.read_bytes())
    return "Drawing | truth | prediction, as the network was when its training ended."
