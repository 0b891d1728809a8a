"""Plain names of colours, for the page, for layers and for groups of an SVG."""

from __future__ import annotations

from tfrecords_schema import LINEWASH_COLORS, Palette
from training.metrics.color_spaces import to_oklab


def color_names(palette: Palette) -> list[str]:
    """Returns a name such as "light blue" for each colour: that of the nearest one of `LINEWASH_COLORS`.

    The distance is Euclidean in OKLab. Colours of a palette that are near to each other may share a name.
    """
    difference = to_oklab(palette.rgb)[:, None] - to_oklab(Palette.linewash().rgb)
    names = list(LINEWASH_COLORS)
    return [names[index] for index in (difference**2).sum(axis=2).argmin(axis=1)]


def layer_name(palette: Palette, label: int) -> str:
    """Returns a sortable name of a colour without spaces, such as 13-light-blue-8cacd4."""
    digits = len(str(len(palette) - 1))
    name = color_names(palette)[label].replace(" ", "-")
    return f"{label:0{digits}d}-{name}-{bytes(palette.colors[label]).hex()}"
