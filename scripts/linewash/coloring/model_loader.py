"""A trained network, from wherever it lies: an export (ONNX, starts at once) or the run that trained it."""

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

# A small network that comes along, so that there are colours before any training.
STARTER = Path(__file__).with_name("starter")
SCRAP_MEMORY = 1 << 29  # bytes, for a drawing of one stride a side
HINT = "type --run RUN_DIR, a directory made by python -m training, or an export of one"


@dataclass(frozen=True)
class Network:
    """A network and what must be known to use it.

    `predict` takes float32 [1, H, W, C], H and W multiples of `stride`, to logits float32 [1, H, W, K].
    """

    palette: Palette
    image_size: int
    stride: int
    takes_hints: bool
    path: Path
    predict: Callable[[np.ndarray], np.ndarray] = field(repr=False)

    def logits(self, drawing: np.ndarray, hints: np.ndarray | None = None) -> np.ndarray:
        """Scores of every colour at every pixel.

        Args:
          drawing: float [H, W], 0 paper to 1 line, any H and W: padded with empty paper below and to the
            right, and cropped back.
          hints: integers [H, W], label + 1 or 0 for none; None for no hints at all.

        Returns:
          float32 [H, W, K].

        Raises:
          UsageError: hints for a network that takes none.
          WorkError: the network's colours are not those of its palette, or its scores are not finite.
        """
        height, width = drawing.shape
        channels = [np.asarray(drawing, np.float32)[..., None]]
        if self.takes_hints:
            given = np.zeros(drawing.shape, np.int64) if hints is None else hints
            channels.append(hint_table(self.palette)[given])
        elif hints is not None:
            raise UsageError(
                f"{self.path} takes no hints: train one that does (python -m training experiment=hints "
                "data.root=DATASET)"
            )
        stack = np.concatenate(channels, axis=-1)
        padding = ((0, -height % self.stride), (0, -width % self.stride), (0, 0))
        scores = self.predict(np.pad(stack, padding)[None])[0, :height, :width]
        if scores.shape[-1] != len(self.palette):
            raise WorkError(
                f"{self.path}: the network knows {scores.shape[-1]} colours, but its palette has "
                f"{len(self.palette)}: export it again"
            )
        if not np.isfinite(scores).all():
            raise WorkError(f"{self.path}: the network's scores are not finite numbers: train it again")
        return np.asarray(scores, np.float32)


def load(path: Path | str) -> Network:
    """Opens the network of an export, or of a run; of a run that holds an export, that.

    Raises:
      UsageError: there is none, or what opens it is not installed.
      WorkError: it is damaged.
    """
    path = Path(path)
    if (path / EXPORT_NAME).is_file():
        return _load_export(path)
    if (path / "export" / EXPORT_NAME).is_file() and find_spec("onnxruntime"):
        return _load_export(path / "export")
    if (path / RUN_NAME).is_file():
        return _load_run(path)
    what = f"holds neither {EXPORT_NAME} nor {RUN_NAME}" if path.is_dir() else "there is no such directory"
    raise UsageError(f"--run {path}: {what}; {HINT}")


def _load_export(directory: Path) -> Network:
    about = ExportMetadata.load(directory)
    predict = _onnx(about.file(directory, "onnx"), about)
    return Network(about.palette, about.image_size, about.stride, about.hints, directory, predict)


def _load_run(directory: Path) -> Network:
    run = RunInfo.read(directory)
    predict, takes_hints = _keras(directory, run)
    return Network(run.palette, run.image_size, run.model.stride, takes_hints, directory, predict)


def _onnx(path: Path, about: ExportMetadata) -> Callable[[np.ndarray], np.ndarray]:
    try:
        import onnxruntime
    except ImportError:
        raise UsageError(
            f"{path} needs onnxruntime, which is not installed: run {install_command('onnx')}"
        ) from None
    onnxruntime.set_default_logger_severity(4)  # what it says besides is said again by the exception
    try:
        if path.parent != STARTER:  # that is as much ours as this line
            _check_memory(path, about)
        session = onnxruntime.InferenceSession(_model(path), providers=["CPUExecutionProvider"])
    except Exception as e:  # onnxruntime's own, which share no base
        raise WorkError(f"{path} is damaged ({type(e).__name__}): export the run again") from None
    given, wanted = session.get_inputs()[0].name, session.get_outputs()[0].name

    def predict(drawings: np.ndarray) -> np.ndarray:
        try:
            return session.run([wanted], {given: drawings})[0]
        except Exception as e:
            raise WorkError(
                f"{path} could not be used ({type(e).__name__}): a smaller --size takes less memory; if that "
                "does not help, export the run again"
            ) from None

    return predict


def _model(path: Path) -> str | bytes:
    """What onnxruntime is given to open: it cannot be told a name that is not UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return path.read_bytes()
    return str(path)


def _check_memory(path: Path, about: ExportMetadata) -> None:
    """Colours a scrap of paper in little memory: what takes more than its bytes account for cannot."""
    import onnxruntime as ort

    most = SCRAP_MEMORY + 3 * path.stat().st_size
    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(memory, ort.OrtArenaCfg({"max_mem": most}))
    options = ort.SessionOptions()
    options.add_session_config_entry("session.use_env_allocators", "1")
    session = ort.InferenceSession(_model(path), options, providers=["CPUExecutionProvider"])
    scrap = np.zeros((1, about.stride, about.stride, about.channels), np.float32)
    session.run(None, {session.get_inputs()[0].name: scrap})


def _keras(directory: Path, run: RunInfo) -> tuple[Callable[[np.ndarray], np.ndarray], bool]:
    """Its best network, and whether that takes hints."""
    path = find_network(directory, "best")
    # Only now: TensorFlow takes seconds to start.
    try:
        from training.tf_startup import start_tensorflow

        start_tensorflow()
        from training.evaluate.evaluation import load_network
        from training.metrics.losses import to_logits
    except ImportError:
        raise UsageError(
            f"{path} needs TensorFlow, which is not installed: run {install_command('train')}, or use an "
            "export of the run, which needs none"
        ) from None
    net = load_network(path, run.palette)

    def predict(drawings: np.ndarray) -> np.ndarray:
        return np.asarray(to_logits(net(drawings, training=False), run.model.gives_logits))

    return predict, net.input_shape[-1] > 1
