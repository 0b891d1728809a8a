"""A drawing and a network in, coloured pictures of the drawing's own size out."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from linewash.coloring import hint_strokes, label_decoding
from linewash.coloring.image_io import STRIP
from linewash.coloring.line_extraction import Drawing
from linewash.coloring.model_loader import Network
from tfrecords_schema import Palette
from training.errors import UsageError

LINE = (34, 31, 38)  # what lines are drawn with on top of colours
SOFTNESS = 1.0  # px of the guide: how far corners of areas are rounded when they are brought to full size


@dataclass(frozen=True)
class Settings:
    """How to colour.

    size: the side of the square that has as many pixels as the picture which the network sees, or None for
      the size that it was trained at. temperature: of the variants' draws, or of the annealed mean; None
      for what suits.

    Raises:
      UsageError: a value out of range.
    """

    decode: label_decoding.Decode = "vote"
    size: int | None = None
    variants: int = 1
    seed: int = 0
    temperature: float | None = None

    def __post_init__(self) -> None:
        if self.decode not in ("vote", "argmax", "mean"):
            raise UsageError(f"--decode must be vote, argmax or mean; got {self.decode}")
        if self.size is not None and not 32 <= self.size <= 1024:
            raise UsageError(f"--size must be 32 to 1024 pixels; got {self.size}")
        if not 1 <= self.variants <= 64:
            raise UsageError(f"--variants must be 1 to 64; got {self.variants}")
        if self.seed < 0:
            raise UsageError(f"--seed must be 0 or above; got {self.seed}")
        if self.temperature is not None and not 0.01 <= self.temperature <= 100:
            raise UsageError(f"--temperature must be 0.01 to 100; got {self.temperature:g}")


@dataclass(frozen=True)
class Picture:
    """A coloured drawing: labels, uint16 [H, W] of the drawing's own size, of `palette`."""

    labels: np.ndarray
    palette: Palette
    drawing: Drawing

    def rgb(self, overlay: bool = False) -> np.ndarray:
        """Its colours, and with `overlay` the drawing's lines on top: uint8 [H, W, 3]."""
        page = np.empty((*self.labels.shape, 3), np.uint8)
        for top in range(0, len(page), STRIP):
            rows = slice(top, top + STRIP)
            flat = self.palette.to_rgb(self.labels[rows])
            if overlay:
                inked = self.drawing.ink[rows] > 0
                below, ink = flat[inked], self.drawing.ink[rows][inked][:, None]
                flat[inked] = np.rint(below + ink * (np.array(LINE, np.float32) - below))
            page[rows] = flat
        return page


def colorize(
    drawing: Drawing, network: Network, settings: Settings | None = None, hints: np.ndarray | None = None
) -> list[Picture]:
    """Colours a drawing, once or `settings.variants` times; the same arguments give the same pictures.

    Args:
      hints: strokes that say what should be which colour, uint8 [h, w, 4] of the drawing's aspect, wherever
        they are opaque; or None.

    Returns:
      Pictures; the first is the likeliest. Fewer than asked for if the network sees no other way.

    Raises:
      UsageError: hints for a network that takes none.
      WorkError: hints of another aspect, or none on the picture; a damaged network.
    """
    settings = settings or Settings()
    height, width = working_shape(*drawing.shape, settings.size or network.image_size)
    small_lines = drawing.lines(height, width)
    labels = None
    if hints is not None:
        hint_strokes.check(hints, *drawing.shape)
        labels = hint_strokes.to_labels(hints, network.palette)
    small_hints = None if labels is None else hint_strokes.resize(labels, height, width)
    field = label_decoding.ColorProbabilities.of(network.logits(small_lines, small_hints), small_hints)
    painting = _decoded(field, drawing.guide, small_lines, network.palette, settings)
    if labels is not None and settings.decode == "vote":
        painting = label_decoding.with_hints(painting, hint_strokes.resize(labels, *drawing.guide.shape))
    warmth = settings.temperature if settings.temperature and settings.decode != "mean" else 1.0
    found = painting.variants(settings.variants, settings.seed, warmth)
    return [Picture(enlarge(one, *drawing.shape), network.palette, drawing) for one in found]


def working_shape(height: int, width: int, size: int) -> tuple[int, int]:
    """The size at which the network sees a page of this one: the same aspect, and size² pixels in all.

    As many as it was trained on, so that things are about as large as it knows them on a page of any aspect.
    """
    scale = size / np.sqrt(height * width)
    return max(8, round(height * scale)), max(8, round(width * scale))


def enlarge(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Brings a label map, integers [h, w], to [height, width] with smooth borders.

    Each colour's area is a soft mask, and at the new size the strongest has the pixel.
    """
    best = np.zeros((height, width), np.float32)
    found = np.zeros((height, width), labels.dtype)
    smaller = height < labels.shape[0]
    for label in np.unique(labels):
        mask = cv2.GaussianBlur((labels == label).astype(np.float32), (0, 0), SOFTNESS)
        mask = cv2.resize(
            mask, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        )
        np.copyto(found, label, where=mask > best)
        np.maximum(best, mask, out=best)
    return found


def _decoded(
    field: label_decoding.ColorProbabilities,
    guide: np.ndarray,
    small_lines: np.ndarray,
    palette: Palette,
    settings: Settings,
) -> label_decoding.Segmentation:
    if settings.decode == "argmax":
        return label_decoding.by_argmax(field, *guide.shape)
    if settings.decode == "mean":
        temperature = settings.temperature or label_decoding.ANNEALING
        return label_decoding.by_mean(field, palette, guide.shape[0], guide.shape[1], temperature)
    return label_decoding.by_vote(field, guide, small_lines.astype(np.uint8))
