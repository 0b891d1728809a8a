"""Colours a drawing with a network: one or several label maps of the drawing's own size."""

from __future__ import annotations

import re
from dataclasses import dataclass

import cv2
import numpy as np

from linewash.coloring import hint_strokes, label_decoding
from linewash.coloring.background import STRIP_ROWS
from linewash.coloring.line_extraction import Drawing
from linewash.coloring.model_loader import Network
from tfrecords_schema import Palette
from training.errors import UsageError
from training.metrics.color_spaces import to_oklab

LINE_COLOR = (34, 31, 38)  # RGB of the lines that are drawn over the colours
_HEX_COLOR = re.compile("#[0-9a-fA-F]{6}")
SOFTNESS = 1.0  # px of the line map: radius by which corners of regions are rounded when they are resized


@dataclass(frozen=True)
class Settings:
    """How to colour.

    decode: "vote" (the pixels of each region between lines vote on its colour), "argmax" (the likeliest
      colour of each pixel) or "mean" (the annealed mean).
    size: px; the network sees the drawing with about size x size pixels, or None for the size of its
      training.
    variants: number of different colourings.
    seed: seed of the variants.
    temperature: of the variants' sampling or of the annealed mean; None for the default of each.
    only_colors: the colours that the network may choose, as indices of its palette or as "#rrggbb" for the
      palette colour nearest to it; None for all. A hint may have any other colour.

    Raises:
      UsageError: a value is out of range.
    """

    decode: label_decoding.Decode = "vote"
    size: int | None = None
    variants: int = 1
    seed: int = 0
    temperature: float | None = None
    only_colors: tuple[int | str, ...] | None = None

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
        if self.only_colors is not None and not self.only_colors:
            raise UsageError("--only-colors must have at least one colour, such as 3,7,#ff8800")
        for color in self.only_colors or ():
            if isinstance(color, str) and not _HEX_COLOR.fullmatch(color):
                raise UsageError(
                    f"--only-colors: {color!r} is neither a number in the palette nor a colour like #ff8800"
                )


@dataclass(frozen=True)
class ColoredImage:
    """A coloured drawing.

    labels: uint16 [H, W], indices in `palette`, of the drawing's own size.
    background: bool [H, W], where the image is transparent, or None if it is opaque.
    """

    labels: np.ndarray
    palette: Palette
    drawing: Drawing
    background: np.ndarray | None = None

    def rgb(self, lines: bool = True) -> np.ndarray:
        """Returns the colours, with `lines` under the drawing's lines: uint8 [H, W, 3]."""
        image = np.empty((*self.labels.shape, 3), np.uint8)
        for top in range(0, len(image), STRIP_ROWS):
            rows = slice(top, top + STRIP_ROWS)
            colors = self.palette.to_rgb(self.labels[rows])
            if lines:
                opacity = self.drawing.line_opacity[rows]
                has_line = opacity > 0
                below, opacity = colors[has_line], opacity[has_line][:, None]
                colors[has_line] = np.rint(below + opacity * (np.array(LINE_COLOR, np.float32) - below))
            image[rows] = colors
        return image

    def rgba(self, lines: bool = True) -> np.ndarray:
        """Returns the same colours with opacity: uint8 [H, W, 4]. On the background only lines are opaque."""
        image = np.empty((*self.labels.shape, 4), np.uint8)
        image[..., :3] = self.rgb(lines)
        image[..., 3] = 255
        if self.background is not None:
            image[self.background] = (*LINE_COLOR, 0)
            if lines:
                image[self.background, 3] = np.rint(255 * self.drawing.line_opacity[self.background])
        return image


def colorize(
    drawing: Drawing, network: Network, settings: Settings | None = None, hints: np.ndarray | None = None
) -> list[ColoredImage]:
    """Colours a drawing `settings.variants` times. Equal arguments give equal images.

    Args:
      hints: strokes in the wanted colours on transparency, uint8 [h, w, 4] of the drawing's aspect ratio.

    Returns:
      The coloured images, the likeliest first. They are fewer than `settings.variants` if the network is too
      sure of its colours.

    Raises:
      UsageError: the network does not accept hints, or has no colour of a number in `only_colors`.
      WorkError: the hints do not fit the drawing or contain no stroke, or the network is damaged.
    """
    settings = settings or Settings()
    height, width = network_shape(*drawing.shape, settings.size or network.image_size)
    small_lines = drawing.lines(height, width)
    hint_labels = small_hints = None
    if hints is not None:
        hint_strokes.check_strokes(hints, *drawing.shape)
        hint_labels = hint_strokes.to_labels(hints, network.palette)
        small_hints = hint_strokes.resize_strokes(hint_labels, height, width)
    logits = network.logits(small_lines, small_hints)
    if settings.only_colors is not None:
        is_allowed = np.zeros(len(network.palette), bool)
        is_allowed[find_colors(settings.only_colors, network.palette)] = True
        logits = np.where(is_allowed, logits, np.float32(-np.inf))
    scores = label_decoding.ColorProbabilities.from_logits(logits, small_hints)
    segmentation = _decode(scores, drawing.line_map, small_lines, network.palette, settings)
    if hint_labels is not None and settings.decode == "vote":
        hint_map = hint_strokes.resize_strokes(hint_labels, *drawing.line_map.shape)
        segmentation = label_decoding.apply_hints(segmentation, hint_map)
    temperature = settings.temperature if settings.temperature and settings.decode != "mean" else 1.0
    label_maps = segmentation.variants(settings.variants, settings.seed, temperature)
    return [
        ColoredImage(resize_labels(labels, *drawing.shape), network.palette, drawing) for labels in label_maps
    ]


def find_colors(colors: tuple[int | str, ...], palette: Palette) -> list[int]:
    """Returns the palette indices of `Settings.only_colors`; the nearest colours in OKLab for "#rrggbb".

    Raises:
      UsageError: a number is not an index of the palette.
    """
    labels = []
    for color in colors:
        if isinstance(color, str):
            rgb = np.array([[*bytes.fromhex(color[1:])]], np.uint8)
            labels.append(int(((to_oklab(palette.rgb) - to_oklab(rgb)) ** 2).sum(-1).argmin()))
        elif 0 <= color < len(palette):
            labels.append(color)
        else:
            raise UsageError(
                f"--only-colors: the palette has the colours 0 to {len(palette) - 1}; got {color}"
            )
    return labels


def network_shape(height: int, width: int, size: int) -> tuple[int, int]:
    """Returns the size at which the network sees a drawing: its aspect ratio, and about size² pixels.

    With as many pixels as in training, objects are about as large as in training at any aspect ratio.
    """
    scale = size / np.sqrt(height * width)
    return max(8, round(height * scale)), max(8, round(width * scale))


def resize_labels(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes a label map, integers [h, w], to [height, width] with smooth borders.

    The mask of each label is blurred and resized; each pixel gets the label whose mask is largest there.
    """
    largest = np.zeros((height, width), np.float32)
    resized = np.zeros((height, width), labels.dtype)
    interpolation = cv2.INTER_AREA if height < labels.shape[0] else cv2.INTER_LINEAR
    for label in np.unique(labels):
        mask = cv2.GaussianBlur((labels == label).astype(np.float32), (0, 0), SOFTNESS)
        mask = cv2.resize(mask, (width, height), interpolation=interpolation)
        np.copyto(resized, label, where=mask > largest)
        np.maximum(largest, mask, out=largest)
    return resized


def _decode(
    scores: label_decoding.ColorProbabilities,
    line_map: np.ndarray,
    small_lines: np.ndarray,
    palette: Palette,
    settings: Settings,
) -> label_decoding.Segmentation:
    height, width = line_map.shape
    if settings.decode == "argmax":
        return label_decoding.decode_by_argmax(scores, height, width)
    if settings.decode == "mean":
        temperature = settings.temperature or label_decoding.ANNEALED_TEMPERATURE
        return label_decoding.decode_by_mean(scores, palette, height, width, temperature)
    return label_decoding.decode_by_vote(scores, line_map, small_lines.astype(np.uint8))
