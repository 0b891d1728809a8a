"""Loads a trained network from an ONNX export, which starts at once, or from a run directory with Keras."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from tfrecords_schema import Palette
from training.cli import install_command
from training.errors import UsageError, WorkError
from training.export.metadata import EXPORT_NAME, ExportMetadata
from training.metrics.color_spaces import hint_table
from training.run.run_info import RUN_NAME, RunInfo, find_network

# The starter model, a small network that is part of the package.
STARTER = Path(__file__).with_name("starter")
# Bytes that a network may take, besides its weights, for a drawing of stride x stride pixels.
PROBE_MEMORY = 1 << 29
RUN_ADVICE = "type --run RUN_DIR, a directory made by python -m training, or an export of one"


@dataclass(frozen=True)
class Network:
    """A trained network and the facts needed to use it.

    predict: maps float32 [1, H, W, C], H and W multiples of `stride`, to logits float32 [1, H, W, K]. A
      second argument is a reference, float32 [1, K], if `takes_reference`.
    prior: fraction of the training pixels that each colour has, [K]; None if it is not known.
    """

    palette: Palette
    image_size: int
    stride: int
    takes_hints: bool
    path: Path
    predict: Callable[..., np.ndarray] = field(repr=False)
    takes_reference: bool = False
    prior: tuple[float, ...] | None = None

    def logits(
        self, drawing: np.ndarray, hints: np.ndarray | None = None, reference: np.ndarray | None = None
    ) -> np.ndarray:
        """Computes the score of each colour at each pixel.

        Args:
          drawing: float [H, W], 0 for paper to 1 for a line, of any size: it is padded with empty paper below
            and to the right, and the scores are cropped.
          hints: integers [H, W], label + 1 or 0 for none; None without hints.
          reference: float [K], how much of each colour is wanted: fractions that add up to 1; None for none.

        Returns:
          float32 [H, W, K].

        Raises:
          UsageError: the network does not accept hints, or no reference.
          WorkError: the number of colours differs from that of the palette, or scores are not finite.
        """
        height, width = drawing.shape
        channels = [np.asarray(drawing, np.float32)[..., None]]
        if self.takes_hints:
            hint_labels = np.zeros(drawing.shape, np.int64) if hints is None else hints
            channels.append(hint_table(self.palette)[hint_labels])
        elif hints is not None:
            raise UsageError(
                f"{self.path} takes no hints: train a network that does "
                "(python -m training experiment=hints data.root=DATASET)"
            )
        stack = np.concatenate(channels, axis=-1)
        padding = ((0, -height % self.stride), (0, -width % self.stride), (0, 0))
        inputs = [np.pad(stack, padding)[None]]
        if reference is not None:
            self.require_reference()
            inputs.append(np.asarray(reference, np.float32).reshape(1, len(self.palette)))
        scores = self.predict(*inputs)[0, :height, :width]
        if scores.shape[-1] != len(self.palette):
            raise WorkError(
                f"{self.path}: the network has {scores.shape[-1]} colours, but its palette has "
                f"{len(self.palette)}: export it again"
            )
        if not np.isfinite(scores).all():
            raise WorkError(f"{self.path}: the network's scores are not finite numbers: train it again")
        return np.asarray(scores, np.float32)

    def require_reference(self) -> None:
        """Does nothing if the network takes a reference.

        Raises:
          UsageError: it takes none.
        """
        if not self.takes_reference:
            raise UsageError(
                f"{self.path} takes no reference: train a network that does "
                "(python -m training experiment=reference data.root=DATASET)"
            )

    def require_prior(self) -> tuple[float, ...]:
        """Returns `prior`.

        Raises:
          UsageError: it is not known.
        """
        if self.prior is None:
            raise UsageError(
                f"--vivid needs the colour frequencies of the training data, which {self.path} lacks: export "
                "the run again while its dataset is there (python -m training.export run=RUN_DIR "
                "data.root=DATASET)"
            )
        return self.prior


def load(path: Path | str = STARTER, num_threads: int = 0) -> Network:
    """Loads the network of an export or of a run directory; an export inside the run is preferred.

    Args:
      path: the directory; the starter model by default.
      num_threads: of ONNX Runtime; 0 for one per core.

    Raises:
      UsageError: there is no network, or a package that it needs is not installed.
      WorkError: the network is damaged.
    """
    path = Path(path)
    if (path / EXPORT_NAME).is_file():
        return _load_export(path, num_threads)
    if (path / "export" / EXPORT_NAME).is_file() and find_spec("onnxruntime"):
        return _load_export(path / "export", num_threads)
    if (path / RUN_NAME).is_file():
        return _load_run(path)
    problem = f"holds neither {EXPORT_NAME} nor {RUN_NAME}" if path.is_dir() else "there is no such directory"
    raise UsageError(f"--run {path}: {problem}; {RUN_ADVICE}")


def _load_export(directory: Path, num_threads: int) -> Network:
    metadata = ExportMetadata.load(directory)
    predict = _onnx_predictor(metadata.file(directory, "onnx"), metadata, num_threads)
    return Network(
        metadata.palette, metadata.image_size, metadata.stride, metadata.hints, directory, predict,
        metadata.reference, None if metadata.prior is None else tuple(metadata.prior),
    )  # fmt: skip


def _load_run(directory: Path) -> Network:
    run = RunInfo.read(directory)
    predict, takes_hints, takes_reference = _keras_predictor(directory, run)
    frequencies = run.find_color_frequencies()
    return Network(
        run.palette, run.image_size, run.model.stride, takes_hints, directory, predict, takes_reference,
        None if frequencies is None else tuple(frequencies),
    )  # fmt: skip


def _onnx_predictor(path: Path, metadata: ExportMetadata, num_threads: int) -> Callable[..., np.ndarray]:
    try:
        import onnxruntime
    except ImportError:
        raise UsageError(
            f"{path} needs onnxruntime, which is not installed: run {install_command('onnx')}"
        ) from None
    onnxruntime.set_default_logger_severity(4)  # its exceptions repeat what it would log
    try:
        if path.parent != STARTER:  # the starter model is trusted like our own code
            _check_memory(path, metadata)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        providers = ["CPUExecutionProvider"]
        session = onnxruntime.InferenceSession(_model_source(path), options, providers=providers)
    except Exception as e:  # onnxruntime's exceptions have no common base class
        raise WorkError(f"{path} is damaged ({type(e).__name__}): export the run again") from None

    def predict(drawings: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
        inputs = _named_inputs(metadata, drawings, reference)
        try:
            return session.run(["logits"], inputs)[0]
        except Exception as e:
            raise WorkError(
                f"{path} could not be used ({type(e).__name__}): a smaller --size takes less memory; if that "
                "does not help, export the run again"
            ) from None

    return predict


def _model_source(path: Path) -> str | bytes:
    """Returns the path as text, or the file's bytes because onnxruntime accepts UTF-8 paths only."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return path.read_bytes()
    return str(path)


def _check_memory(path: Path, metadata: ExportMetadata) -> None:
    """Runs the network on the smallest drawing with limited memory.

    A crafted file whose operations allocate far more memory than its size accounts for fails here.
    """
    import onnxruntime as ort

    max_bytes = PROBE_MEMORY + 3 * path.stat().st_size
    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(memory, ort.OrtArenaCfg({"max_mem": max_bytes}))
    options = ort.SessionOptions()
    options.add_session_config_entry("session.use_env_allocators", "1")
    session = ort.InferenceSession(_model_source(path), options, providers=["CPUExecutionProvider"])
    drawing = np.zeros((1, metadata.stride, metadata.stride, metadata.channels), np.float32)
    session.run(["logits"], _named_inputs(metadata, drawing))


def _named_inputs(
    metadata: ExportMetadata, drawings: np.ndarray, reference: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Returns the inputs of an exported network by name; without a reference they have zeros for it."""
    inputs = {"drawing": drawings}
    if metadata.reference:
        zeros = np.zeros((len(drawings), len(metadata.palette)), np.float32)
        inputs["reference"] = zeros if reference is None else reference
    return inputs


def _keras_predictor(directory: Path, run: RunInfo) -> tuple[Callable[..., np.ndarray], bool, bool]:
    """Returns the predictor of the run's best network, and whether that takes hints and a reference."""
    path = find_network(directory, "best")
    # Imported only here because TensorFlow takes seconds to start.
    try:
        from training.tf_startup import start_tensorflow

        start_tensorflow()
        from training.evaluate.evaluation import load_network
        from training.metrics.losses import to_logits
        from training.models.inputs import call, takes_hints, takes_reference
    except ImportError:
        raise UsageError(
            f"{path} needs TensorFlow, which is not installed: run {install_command('train')}, or use an "
            "export of the run, which does not need it"
        ) from None
    net = load_network(path, run.palette)

    def predict(drawings: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
        return np.asarray(to_logits(call(net, drawings, reference), run.model.gives_logits))

    return predict, takes_hints(net), takes_reference(net)
