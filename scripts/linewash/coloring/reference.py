"""References: how much of each colour is wanted, as in a picture, or as a person picked colours."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import numpy as np
from PIL import ImageColor

from linewash.coloring.image_io import MAX_PIXELS, read_pixels
from linewash.coloring.transparency import OPAQUE_ALPHA, shrink
from preprocess.posterize import to_labels
from tfrecords_schema import LINEWASH_COLORS, Palette
from training.cli import closest_match, did_you_mean
from training.errors import UsageError, WorkError

SIDE = 256  # px: pictures of twice this side are shrunk before their colours are counted
MAX_COLORS = 64  # that a person picks
MAX_WEIGHT = 1e6
COLOR_FORMS = "type #rrggbb, #rgb or a name such as navy, and commas between colours"
# Of CSS, and those of the built-in palette, which the page shows; the latter win.
NAMES = {**ImageColor.colormap, **LINEWASH_COLORS}
_HEX_COLOR = re.compile("#(?:[0-9a-f]{3}|[0-9a-f]{6})")


@dataclass(frozen=True, eq=False)
class Reference:
    """Wanted colours, of any picture or picked by a person. A palette turns them into weights of its colours.

    rgb: uint8 [N, 3].
    counts: float64 [N], above 0; the weight of each colour, in any unit.
    """

    rgb: np.ndarray
    counts: np.ndarray

    def weights(self, palette: Palette) -> np.ndarray:
        """Returns the fraction of each palette colour: float32 [K], which adds up to 1.

        Each colour counts for the nearest one of the palette, as in the labels that networks learn from.
        """
        labels = to_labels(np.ascontiguousarray(self.rgb[None]), palette)[0]
        sums = np.bincount(labels, self.counts, minlength=len(palette))
        return (sums / sums.sum()).astype(np.float32)

    @property
    def digest(self) -> str:
        """A digest of the colours and counts."""
        return hashlib.sha256(self.rgb.tobytes() + self.counts.tobytes()).hexdigest()[:16]


def read_reference(data: bytes, max_pixels: int = MAX_PIXELS) -> Reference:
    """Returns the colours of a picture, without its transparent parts.

    Args:
      data: an image file or an SVG.
      max_pixels: a larger picture is an error.

    Raises:
      WorkError: the picture cannot be read, or is transparent everywhere.
    """
    pixels = read_pixels(data, max_pixels)
    pixels = shrink(pixels, max(pixels.shape[:2]) // SIDE)
    colors = pixels[..., :3].reshape(-1, 3)
    if pixels.shape[2] == 4:
        colors = colors[pixels[..., 3].ravel() >= OPAQUE_ALPHA]
    if not len(colors):
        raise WorkError("the picture is transparent everywhere: give one with colours")
    # Sorting numbers is much faster than sorting rows.
    codes, counts = np.unique(colors @ np.array([1 << 16, 1 << 8, 1], np.int32), return_counts=True)
    rgb = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1).astype(np.uint8)
    return Reference(rgb, counts.astype(np.float64))


def parse_colors(text: str) -> Reference:
    """Returns the colours of a list such as "#f4c542:3, #2b6, navy"; without a weight it is 1.

    Raises:
      UsageError: an item is no colour, or its weight is no number above 0.
    """
    items = [item.strip().lower() for item in text.split(",")]
    pairs = [item.partition(":") for item in items]
    return from_colors(
        [(color.strip(), _parse_weight(weight) if colon else 1.0) for color, colon, weight in pairs]
    )


def from_colors(colors: list[tuple[str, float]]) -> Reference:
    """Returns a reference of colours, such as "#f4c542" or "navy", and their weights.

    Raises:
      UsageError: one of them is no colour, a weight is no number above 0, or there are none or too many.
    """
    if not 1 <= len(colors) <= MAX_COLORS:
        raise UsageError(f"--colors takes 1 to {MAX_COLORS} colours, got {len(colors)}")
    rgb = np.array([_parse_color(color) for color, _ in colors], np.uint8)
    for color, weight in colors:
        if not 0 < weight <= MAX_WEIGHT:
            raise UsageError(
                f"--colors: the weight of {color} must be above 0, up to {MAX_WEIGHT:,.0f}; got {weight:g}"
            )
    return Reference(rgb, np.array([weight for _, weight in colors], np.float64))


def _parse_color(text: str) -> tuple[int, ...]:
    color = NAMES.get(text) or NAMES.get(text.replace(" ", "")) or text
    if isinstance(color, str):
        if not _HEX_COLOR.fullmatch(color):
            suggestion = closest_match(text, NAMES)
            raise UsageError(f"--colors: {text!r} is no colour{did_you_mean(suggestion)} {COLOR_FORMS}")
        return ImageColor.getrgb(color)
    return color


def _parse_weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(
            f"--colors: the weight of a colour must be a number above 0, got {text!r}; such as #f4c542:3"
        ) from None
