"""Encodes coloured images as SVG: a group of paths per colour, one path per region, and the lines on top."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import cv2
import numpy as np

from linewash.coloring.color_names import layer_name
from linewash.coloring.colorizer import LINE_COLOR, ColoredImage
from linewash.coloring.contours import Loop, trace
from linewash.coloring.openraster import labels_by_frequency

MAX_SIDE = 2048  # px of the longer side at which borders are traced
MAX_ENLARGEMENT = 4  # of a small drawing before its lines are traced, because they may be a pixel wide
MIN_OPACITY = 0.15  # opacity from which a pixel may belong to a line ...
RIM = 0.5  # ... if it has this fraction of the greatest opacity near it: a pencil line may be faint
NEIGHBOURHOOD = 5  # px of the drawing: width of the square that is near
# Width of the stroke around each region as a fraction of the longer side, at least a pixel. Without it, the
# background shines through between neighbours.
SEAM = 0.001
FLATNESS = 0.02  # px: a curve as flat as this is written as a straight line

_HEAD = """\
<?xml version="1.0" encoding="UTF-8"?>
<svg xmlns="http://www.w3.org/2000/svg" xmlns:inkscape="http://www.inkscape.org/namespaces/inkscape" \
width="{width}" height="{height}" viewBox="0 0 {width} {height}">
"""
_GROUP = '<g id="{id}" inkscape:label="{name}" inkscape:groupmode="layer" fill="{color}" fill-rule="evenodd"'


def to_svg(image: ColoredImage, lines: bool = True, colors: bool = True) -> bytes:
    """Encodes a coloured image as an SVG of the drawing's size, which Inkscape opens with its layers.

    A region is a connected area of one colour. Neighbouring regions share their border, a smooth curve.

    Args:
      lines, colors: whether it has the lines, and whether it has the colours.
    """
    height, width = image.labels.shape
    text = [_HEAD.format(width=width, height=height)]
    if colors:
        text += _color_groups(image)
    if lines:
        text += _lines_group(image)
    return "".join([*text, "</svg>\n"]).encode()


def _color_groups(image: ColoredImage) -> Iterator[str]:
    """Yields a group per colour, the most frequent colour first, which is at the bottom."""
    side = max(image.labels.shape)
    height, width = (max(1, round(length * min(1, MAX_SIDE / side))) for length in image.labels.shape)
    size = (width, height)
    labels = cv2.resize(image.labels, size, interpolation=cv2.INTER_NEAREST)
    regions = np.zeros((height, width), np.int32)
    colors = [-1]  # the label of each region
    for label in reversed(labels_by_frequency(image)):
        mask = (labels == label).astype(np.uint8)
        if image.background is not None:
            mask &= 1 - cv2.resize(image.background.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        count, parts = cv2.connectedComponents(mask, connectivity=4)
        np.add(parts, len(colors) - 1, out=regions, where=parts > 0)
        colors += [label] * (count - 1)
    scale, seam = image.labels.shape[1] / width, max(1, round(SEAM * side))
    for label, loops_of_color in groupby(trace(regions), lambda loop: colors[loop.region]):
        name, color = layer_name(image.palette, label), _hex(image.palette.colors[label])
        group = _GROUP.format(id=f"color-{name}", name=name, color=color)
        yield f'{group} stroke="{color}" stroke-width="{seam:g}" stroke-linejoin="round">\n'
        for number, (_, loops) in enumerate(groupby(loops_of_color, lambda loop: loop.region), 1):
            yield f'<path id="color-{name}-{number}" d="{_path(loops, scale)}"/>\n'
        yield "</g>\n"


def _lines_group(image: ColoredImage) -> Iterator[str]:
    """Yields the group of the lines, as one path; nothing for a photo, which has no ink."""
    opacity = image.drawing.line_opacity
    scale = min(MAX_ENLARGEMENT, MAX_SIDE / max(opacity.shape))
    height, width = (max(1, round(length * scale)) for length in opacity.shape)
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    opacity = cv2.resize(opacity, (width, height), interpolation=interpolation)
    reach = 2 * round(scale * NEIGHBOURHOOD / 2) + 1
    greatest = cv2.dilate(opacity, np.ones((reach, reach), np.uint8))
    ink = opacity >= np.maximum(RIM * greatest, MIN_OPACITY)
    if ink.any():
        path = _path(trace(ink.astype(np.uint8)), image.labels.shape[1] / width)
        yield _GROUP.format(id="lines", name="lines", color=_hex(LINE_COLOR))
        yield f'>\n<path id="lines-1" d="{path}"/>\n</g>\n'


def _path(loops: Iterator[Loop], scale: float) -> str:
    """Returns the path data of loops whose coordinates are multiplied by `scale`."""
    return "".join(_loop_path(loop.curves * scale) for loop in loops)


def _loop_path(curves: np.ndarray) -> str:
    numbers = np.rint(curves * 100).astype(np.int64)
    start, end = curves[:, :1], curves[:, 3:]
    chord = end - start
    away = np.abs(chord[..., 0] * (curves - start)[..., 1] - chord[..., 1] * (curves - start)[..., 0])
    is_flat = (away <= FLATNESS * np.maximum(np.hypot(*chord[:, 0].T), 1e-9)[:, None]).all(1)
    text = [f"M{_number(numbers[0, 0, 0])} {_number(numbers[0, 0, 1])}"]
    for (_, *points), flat in zip(numbers.tolist(), is_flat.tolist(), strict=True):
        shown = points[2:] if flat else points
        text.append(("L" if flat else "C") + " ".join(f"{_number(x)} {_number(y)}" for x, y in shown))
    return "".join(text) + "Z"


def _number(hundredths: int) -> str:
    return f"{hundredths / 100:.2f}".rstrip("0").rstrip(".")


def _hex(color: tuple[int, int, int]) -> str:
    return f"#{bytes(color).hex()}"
