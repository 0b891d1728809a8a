"""Plain names of colours, for the page, for layers and for groups of an SVG."""

from __future__ import annotations

import numpy as np

from tfrecords_schema import LINEWASH_COLORS, Palette
from training.metrics.color_spaces import to_oklab

# Colours of other palettes between those of `LINEWASH_COLORS`.
_OTHER_COLORS = (
    ("grey", "#868686"), ("salmon", "#ec9589"), ("dark blue", "#1e2a60"), ("teal", "#3e656a"),
    ("orange", "#e06a30"), ("gold", "#e0ad45"), ("ochre", "#b8903f"), ("leaf green", "#5fb04c"),
    ("moss green", "#4c813b"),
    ("dark green", "#1e5d45"), ("sky blue", "#54adea"), ("steel blue", "#4a76ad"), ("purple", "#814692"),
    ("magenta", "#d020d0"), ("rose", "#c65d7d"), ("lime", "#a0e030"), ("turquoise", "#30c8a0"),
)  # fmt: skip
_NAMED_COLORS = (*LINEWASH_COLORS.items(), *_OTHER_COLORS)


def color_names(palette: Palette) -> list[str]:
    """Returns a name such as "light blue" for each colour: that of the nearest named colour.

    The distance is Euclidean in OKLab. Colours of a palette that are near to each other may share a name.
    """
    named = np.array([tuple(bytes.fromhex(color.removeprefix("#"))) for _, color in _NAMED_COLORS], np.uint8)
    difference = to_oklab(palette.rgb)[:, None] - to_oklab(named)
    return [_NAMED_COLORS[index][0] for index in (difference**2).sum(axis=2).argmin(axis=1)]


def layer_name(palette: Palette, label: int) -> str:
    """Returns a sortable name of a colour without spaces, such as 13-light-blue-8cacd4."""
    digits = len(str(len(palette) - 1))
    name = color_names(palette)[label].replace(" ", "-")
    return f"{label:0{digits}d}-{name}-{bytes(palette.colors[label]).hex()}"
