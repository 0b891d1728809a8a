"""A trained network, from wherever it lies: an export (ONNX, starts at once) or the run that trained it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import msgspec
import numpy as np

from tfrecords_schema import Palette
from training.errors import UsageError, WorkError
from training.exported import EXPORT_NAME, Exported

RUN_NAME = "run.json"
HINT_CHANNELS = 4  # red, green, blue from 0 to 1, and 1 where there is a hint: training/hints.py
SMALLEST = 1e-7  # probability whose logarithm is taken, of networks that end in probabilities
HINT = "type --run RUN_DIR, a directory made by python -m training, or an export of one"


class _Model(msgspec.Struct):
    stride: int
    gives_logits: bool


class _ModelSettings(msgspec.Struct):
    hints: bool = False


class _Config(msgspec.Struct):
    model: _ModelSettings


class _Run(msgspec.Struct):
    """What run.json says of what colouring needs."""

    image_size: int
    palette: Palette
    model: _Model
    config: _Config


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
            channels.append(self._hint_table()[given])
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

    def _hint_table(self) -> np.ndarray:
        """What the network sees of label + 1: float32 [K + 1, 4]."""
        table = np.zeros((len(self.palette) + 1, HINT_CHANNELS), np.float32)
        table[1:, :3] = self.palette.rgb / 255
        table[1:, 3] = 1
        return table


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
    about = Exported.load(directory)
    predict = _onnx(about.file(directory, "onnx"))
    return Network(about.palette, about.image_size, about.stride, about.hints, directory, predict)


def _load_run(directory: Path) -> Network:
    path = directory / RUN_NAME
    try:
        about = msgspec.json.decode(path.read_bytes(), type=_Run)
    except (msgspec.MsgspecError, ValueError) as e:
        raise UsageError(f"{path} is not what python -m training writes ({e}); {HINT}") from None
    network = directory / "checkpoints" / "best.keras"
    if not network.is_file():
        raise UsageError(f"{network} is missing: the run has saved no network; train it for an epoch")
    predict = _keras(network, about.model.gives_logits)
    hints = about.config.model.hints
    return Network(about.palette, about.image_size, about.model.stride, hints, directory, predict)


def _onnx(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    try:
        import onnxruntime
    except ImportError:
        raise UsageError(
            f"{path} needs onnxruntime, which is not installed: pip install 'linewash[onnx]'"
        ) from None
    onnxruntime.set_default_logger_severity(4)  # what it says besides is said again by the exception
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as e:  # onnxruntime's own, which share no base
        raise WorkError(f"{path} is damaged ({type(e).__name__}): export the run again") from None
    given, wanted = session.get_inputs()[0].name, session.get_outputs()[0].name
    return lambda drawings: session.run([wanted], {given: drawings})[0]


def _keras(path: Path, gives_logits: bool) -> Callable[[np.ndarray], np.ndarray]:
    # Only now: TensorFlow takes seconds to start.
    try:
        from training.quiet import start_tensorflow

        start_tensorflow()
        import keras
    except ImportError:
        raise UsageError(
            f"{path} needs TensorFlow, which is not installed: pip install 'linewash[train]', or use an "
            "export of the run, which needs none"
        ) from None
    try:
        net = keras.models.load_model(path, compile=False)
    except Exception as e:  # Keras raises whatever zipfile, h5py and json meet
        raise WorkError(f"{path} is damaged ({type(e).__name__}): train again, or use another run") from None

    def predict(drawings: np.ndarray) -> np.ndarray:
        scores = keras.ops.convert_to_numpy(net(drawings, training=False))
        return scores if gives_logits else np.log(np.clip(scores, SMALLEST, 1))

    return predict
