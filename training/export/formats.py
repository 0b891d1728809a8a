"""Writes a trained network in the formats of other runtimes, and checks each file against Keras.

tf2onnx makes the ONNX file, as it does for Keras's own `format="onnx"`; TensorFlow's converter makes the
LiteRT file. Both start from one trace of a `portable_copy`, because of dynamic sizes: LiteRT cannot convert
Keras's upsampling, and tf2onnx takes half a minute for each attention layer. tf2onnx moves the transpositions
to both ends of the graph, so that it runs without copies in between. The alternatives were worse: Keras's
export through PyTorch fixes the sizes, and one through JAX needs a second framework.
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
import tensorflow as tf
from PIL import Image

from tfrecords_schema import __version__
from training.data.dataset import ShardedDataset
from training.errors import WorkError
from training.evaluate.evaluation import evaluate, load_network
from training.export import parity
from training.export.metadata import EXPORT_NAME, FORMATS, INPUTS, ExportMetadata, format_version
from training.export.model_card import CARD_NAME, CardDetails, draw_palette, write_card
from training.export.portable import inference_copy, portable_copy
from training.metrics.logit_adjustment import color_frequencies
from training.models.inputs import call, takes_hints, takes_reference
from training.run.run_info import RunInfo
from training.run.sample_grid import SampleGrid
from training.tf_startup import capture_stderr, show_status

# ONNX Runtime supports it since 1.14 (2023); tf2onnx supports no later one.
OPSET = 18
AXES = ("batch", "height", "width")
PANEL_EXAMPLES = 4


@dataclass(frozen=True)
class TrainedNetwork:
    """A network to export.

    Attributes:
      run_dir: directory of the run that trained it.
      run: the content of run.json.
      network: path of the .keras file.
      dataset: the training dataset; None if it is no longer there.
      batch_size: images per batch of an evaluation.
    """

    run_dir: Path
    run: RunInfo
    network: Path
    dataset: ShardedDataset | None
    batch_size: int


class _EvaluationFile(msgspec.Struct):
    """The fields of evaluation.json that an export uses."""

    network: str
    fingerprint: str
    split: str
    examples: int
    scores: dict[str, dict[str, float | None]]
    vivid: float = 0.0


def export(
    trained: TrainedNetwork, formats: list[str], directory: Path, notes: list[str], about: str = ""
) -> str:
    """Writes a network in some formats, with export.json and the model card.

    Args:
      trained: the network.
      formats: names among `FORMATS`.
      directory: directory of the files.
      notes: sentences for the model card.
      about: Markdown for the model card.

    Returns:
      The table to print, which compares the formats with Keras.

    Raises:
      WorkError: the network or a shard is damaged, a format cannot be made, or a file differs from Keras.
    """
    run = trained.run
    original = load_network(trained.network, run.palette)
    evaluation = _find_evaluation(trained)
    net = inference_copy(original, run.model.gives_logits)
    progress = show_status(f"writing {', '.join(formats)}, and comparing them with Keras")
    with progress, tempfile.TemporaryFile() as log, capture_stderr(log):
        files = _write_formats(net, formats, directory)
        batches = _test_inputs(trained, net)
        rows = [row.check() for row in parity.compare(net, files, batches, run.model.stride)]
    metadata = ExportMetadata(
        format_version=format_version(takes_reference(net)),
        model=run.model.name,
        image_size=run.image_size,
        stride=run.model.stride,
        hints=takes_hints(net),
        reference=takes_reference(net),
        prior=_color_frequencies(trained),
        palette=run.palette,
        recipe=trained.dataset.manifest.recipe if trained.dataset else {},
        dataset_fingerprint=run.dataset.fingerprint,
        files={name: path.name for name, path in files.items()},
        scores=evaluation["scores"] if evaluation else {},
        linewash_version=__version__,
        settings=dict(run.config.get("model", {})),
    )
    (directory / EXPORT_NAME).write_bytes(metadata.to_json())
    draw_palette(run.palette).save(directory / "palette.png")
    caption = _write_panel(trained, net, directory)
    details = CardDetails(run, net.count_params(), trained.network.name, evaluation, notes, caption, about)
    (directory / CARD_NAME).write_text(write_card(metadata, rows, details))
    return parity.format_table(rows)


# -------------------------------------------------------------------------------------------- formats


def _write_formats(net: keras.Model, formats: list[str], directory: Path) -> dict[str, Path]:
    """Writes the network in each format; returns the paths by format, in the order of `FORMATS`."""
    files = {name: directory / file for name, file in FORMATS.items() if name in formats}
    with tempfile.TemporaryDirectory() as scratch:
        # LiteRT is made from a SavedModel, which is temporary if it is not among the formats.
        saved_model = files.get("saved_model", Path(scratch) / "saved_model")
        if "keras" in files:
            net.save(files["keras"])
        if set(files) != {"keras"}:
            module = _trace(portable_copy(net))
        if {"saved_model", "litert"} & set(files):
            with _explain_converter_errors("saved_model"):
                tf.saved_model.save(module, str(saved_model), module.serve.get_concrete_function())
        if "onnx" in files:
            with _explain_converter_errors("onnx"):
                _write_onnx(module.serve, files["onnx"])
        if "litert" in files:
            with _explain_converter_errors("litert"):
                converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
                files["litert"].write_bytes(converter.convert())
    return files


def _trace(net: keras.Model) -> tf.Module:
    """Returns a module whose `serve` maps the inputs of `ExportMetadata`, by name, to {"logits": …}."""
    signature = [
        tf.TensorSpec(tensor.shape, tf.float32, name)
        for name, tensor in zip(INPUTS, net.inputs, strict=False)
    ]
    module = tf.Module("linewash")
    # A SavedModel saves the variables that are attributes of the module.
    module.weights = [variable.value for variable in net.variables]

    # The names of the arguments are those of the inputs.
    def with_reference(drawing: tf.Tensor, reference: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"logits": call(net, drawing, reference)}

    def without(drawing: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"logits": call(net, drawing)}

    serve = with_reference if takes_reference(net) else without
    module.serve = tf.function(serve, input_signature=signature)
    return module


def _write_onnx(serve: Any, path: Path) -> None:
    import onnx
    import tf2onnx

    model, _ = tf2onnx.convert.from_function(serve, serve.input_signature, opset=OPSET)
    for value in (*model.graph.input, *model.graph.output):
        axes = value.type.tensor_type.shape.dim
        # The last one has a fixed size: channels or colours.
        for axis, name in zip(axes[:-1], AXES, strict=False):
            axis.dim_param = name
    model.producer_name, model.producer_version = "linewash", __version__
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


@contextmanager
def _explain_converter_errors(name: str) -> Iterator[None]:
    """Turns an error of the converter for format `name` into a WorkError."""
    try:
        yield
    except (OSError, MemoryError):
        raise
    # Converters raise errors of any type, with long messages.
    except Exception as e:
        reason = str(e).strip().split("\n")[0][:200]
        others = ",".join(other for other in FORMATS if other != name)
        raise WorkError(
            f"this network could not be converted to {name} ({type(e).__name__}: {reason}): type "
            f"formats={others}, and report this"
        ) from e


# ------------------------------------------------------------------------- drawings, scores, pictures


def _read_examples(trained: TrainedNetwork, max_examples: int) -> SampleGrid | None:
    """Reads the first examples of the selection split; returns None if there are none."""
    dataset = trained.dataset
    if dataset is None or not dataset.examples(dataset.selection_split):
        return None
    return SampleGrid.read(dataset, dataset.selection_split, max_examples, trained.run.model.stride)


def _test_inputs(trained: TrainedNetwork, net: keras.Model) -> list[parity.Inputs]:
    run, grid = trained.run, _read_examples(trained, 2)
    edges = grid.edges if grid and len(grid.edges) == 2 else parity.scribbles(run.image_size)
    drawings = parity.test_drawings(edges, run.model.stride, run.palette, takes_hints(net))
    return parity.with_references(drawings, len(run.palette) if takes_reference(net) else 0)


def _color_frequencies(trained: TrainedNetwork) -> list[float] | None:
    if trained.dataset is None:
        return None
    return color_frequencies(trained.dataset.manifest.splits["train"].label_histogram)


def _find_evaluation(trained: TrainedNetwork) -> dict[str, Any] | None:
    """Returns the content of evaluation.json, made now if it is missing; None without the dataset."""
    run_dir, dataset = trained.run_dir, trained.dataset
    path = run_dir / "evaluation.json"
    if content := _read_evaluation(path, trained):
        return content
    if dataset is None or not dataset.examples(dataset.selection_split):
        return None
    split, lines = dataset.selection_split, dataset.manifest.lines[0]
    evaluation = evaluate(trained.run, trained.network, dataset, split, trained.batch_size, lines)
    if not path.exists():
        evaluation.write(run_dir, [])
    return evaluation.content([])


def _read_evaluation(path: Path, trained: TrainedNetwork) -> dict[str, Any] | None:
    """Reads evaluation.json; None unless it belongs to this network and to its training dataset."""
    try:
        content = msgspec.convert(json.loads(path.read_text()), dict[str, Any])
        evaluation = msgspec.convert(content, _EvaluationFile)
        is_same = Path(evaluation.network).name == trained.network.name
        is_same = (
            is_same and not evaluation.vivid and evaluation.fingerprint == trained.run.dataset.fingerprint
        )
    except (OSError, ValueError, RecursionError, msgspec.MsgspecError):  # an invalid file is ignored
        return None
    # An older file belongs to an earlier epoch.
    return content if is_same and path.stat().st_mtime >= trained.network.stat().st_mtime else None


def _write_panel(trained: TrainedNetwork, net: keras.Model, directory: Path) -> str | None:
    """Writes panel.png and returns its caption; returns None if there is nothing to show."""
    path = directory / "panel.png"
    if grid := _read_examples(trained, PANEL_EXAMPLES):
        Image.fromarray(grid.draw(net)).save(path)
        return "Drawing, truth and prediction for examples of the dataset."
    training_panel = trained.run_dir / "panel.png"
    if not training_panel.is_file():
        return None
    path.write_bytes(training_panel.read_bytes())
    return "Drawing, truth and prediction at the end of the training."
