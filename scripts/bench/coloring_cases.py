"""The drawings of the benchmark of hints, with the wanted colours, and the dabs of colour placed on them.

The lines of a drawing, the wanted picture and its regions have one size. Off the lines means at least one
pixel away from any ink: only there a picture is compared with the wanted one.
"""

from __future__ import annotations

import io
import json
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.measure import label

from preprocess.nearest_pixel import fill_from_nearest
from tfrecords_schema import Palette
from training.metrics.color_spaces import to_oklab

Color = tuple[int, int, int]

PAPER = 255
INK = 128  # a pixel darker than this is ink, for the methods that need a mask of lines ...
FAINT = 250  # ... and one darker than this is at least the soft rim of a line
OPAQUE_ALPHA = 128
MIN_COLOR = (
    1 / 3000
)  # fraction of the image that a colour covers; rarer ones are the soft rims between colours
MIN_REGION = 1 / 4000  # fraction of the image that a region covers; smaller ones get no dab
DAB_RADIUS = 0.015  # fraction of the side
MIN_BARE = 0.5  # fraction of the border of two regions that has no line, from which no line parts them
DPI = 96  # without it, resvg refuses SVGs whose size is in mm or pt


@dataclass(frozen=True)
class Region:
    """A connected part of the wanted picture of one colour, off the lines.

    mask: bool [H, W].
    is_object: whether it belongs to the object; if not, to the background.
    """

    mask: np.ndarray
    color: Color
    is_object: bool


@dataclass(frozen=True)
class Case:
    """A drawing and the wanted picture.

    drawing: uint8 [H, W, 3], dark lines on white.
    truth: uint8 [H, W, 3], the wanted colours; under the lines, those of the nearest area.
    is_object, off_lines: bool [H, W].
    regions: of the wanted picture, the largest first.
    paper: the colour of the empty page: white, or the palette's nearest to it.
    """

    name: str
    drawing: np.ndarray
    truth: np.ndarray
    is_object: np.ndarray
    off_lines: np.ndarray
    regions: tuple[Region, ...]
    paper: Color

    @cached_property
    def png(self) -> bytes:
        """The drawing as a file."""
        return encode_png(self.drawing)

    @cached_property
    def ink(self) -> np.ndarray:
        """Where ink is: bool [H, W]."""
        return self.drawing.min(-1) < INK

    @cached_property
    def line_areas(self) -> np.ndarray:
        """Numbers of the areas that lines part without any gap: int32 [H, W], 0 on ink."""
        return cv2.connectedComponents((~self.ink).astype(np.uint8), connectivity=4)[1]

    @cached_property
    def parted_areas(self) -> np.ndarray:
        """Numbers of the areas of the wanted picture that a line parts, with or without gaps: int32 [H, W].

        Two regions of different colours are one area if most of the border between them has no line.
        """
        colors = (self.truth.astype(np.int32) @ (1 << 16, 1 << 8, 1)) * 2 + self.is_object
        parts = label(colors, connectivity=1, background=-1) - 1
        count = int(parts.max()) + 1
        columns = (parts[:, :-1], parts[:, 1:], self.off_lines[:, :-1] & self.off_lines[:, 1:])
        rows = (parts[:-1], parts[1:], self.off_lines[:-1] & self.off_lines[1:])
        first, second, is_bare = (
            np.concatenate([a.ravel(), b.ravel()]) for a, b in zip(columns, rows, strict=True)
        )
        is_border = first != second
        pairs = first[is_border], second[is_border]
        shape = count, count
        borders = coo_array((np.ones(len(pairs[0])), pairs), shape).tocsr()
        bare = coo_array((is_bare[is_border].astype(float), pairs), shape).tocsr()
        is_open = (bare + bare.T) > MIN_BARE * (borders + borders.T)
        return connected_components(is_open, directed=False)[1][parts]


@dataclass(frozen=True)
class Dabs:
    """Dabs of colour on a drawing, one in each of some regions.

    labels: int32 [H, W], the number of the dab from 1, or 0 where there is none.
    """

    labels: np.ndarray
    regions: tuple[Region, ...]

    @cached_property
    def colors(self) -> np.ndarray:
        """The colour of each dab: uint8 [N + 1, 3]. Row 0 is black."""
        return np.array([(0, 0, 0), *(region.color for region in self.regions)], np.uint8)

    @cached_property
    def rgba(self) -> np.ndarray:
        """The dabs as hints, opaque on transparency: uint8 [H, W, 4]."""
        return np.dstack([self.colors[self.labels], np.where(self.labels > 0, 255, 0).astype(np.uint8)])


def place_dabs(case: Case, count: int, on_background: bool) -> Dabs:
    """Puts a dab into the middle of the largest regions of the object.

    Args:
      count: number of regions of the object, the largest first; fewer if there are no more.
      on_background: whether the largest region of the background gets a dab too. Its number is then 1.
    """
    background = [region for region in case.regions if not region.is_object]
    regions = background[:1] if on_background else []
    regions += [region for region in case.regions if region.is_object][:count]
    labels = np.zeros(case.off_lines.shape, np.int32)
    radius = round(DAB_RADIUS * len(labels))
    for number, region in enumerate(regions, 1):
        dab = np.zeros(labels.shape, np.uint8)
        cv2.circle(dab, _middle(region.mask), radius, 1, -1)
        labels[(dab == 1) & region.mask] = number
    return Dabs(labels, tuple(regions))


def _middle(mask: np.ndarray) -> tuple[int, int]:
    """Returns x and y of the pixel that is farthest from the border of a mask, bool [H, W]."""
    padded = np.pad(mask.astype(np.uint8), 1)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    y, x = np.unravel_index(int(distance.argmax()), distance.shape)
    return int(x), int(y)


def make_case(name: str, drawing: np.ndarray, wanted: np.ndarray, palette: Palette | None) -> Case:
    """Finds the colours and the regions of the wanted picture.

    Args:
      drawing: uint8 [H, W, 3], dark lines on white.
      wanted: uint8 [H, W, 4]. The object is opaque, the background transparent.
      palette: each colour is replaced by the nearest one of the palette in OKLab; None keeps the colours.
    """
    faint = (drawing.min(-1) < FAINT).astype(np.uint8)
    off_lines = cv2.dilate(faint, np.ones((3, 3), np.uint8)) == 0
    indices, colors = _flat_colors(on_white(wanted), off_lines)
    paper = np.full((1, 3), PAPER, np.uint8)
    if palette is not None:
        colors, paper = (palette.rgb[_nearest(c, palette.rgb)] for c in (colors, paper))
        colors, merged = np.unique(colors, axis=0, return_inverse=True)
        indices = merged.ravel()[indices]
    is_object = wanted[..., 3] >= OPAQUE_ALPHA
    regions = []
    for part in (True, False):
        for index, color in enumerate(colors):
            mask = ((indices == index) & off_lines & (is_object == part)).astype(np.uint8)
            _, parts, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
            for number in range(1, len(stats)):
                if stats[number, cv2.CC_STAT_AREA] >= MIN_REGION * mask.size:
                    regions.append(Region(parts == number, _color(color), part))
    regions.sort(key=lambda region: -int(region.mask.sum()))
    return Case(name, drawing, colors[indices], is_object, off_lines, tuple(regions), _color(paper[0]))


def _flat_colors(rgb: np.ndarray, off_lines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the frequent colours off the lines, uint8 [K, 3], and each pixel's index among them, [H, W].

    Pixels of rare colours, which are the soft rims between two areas, and those of lines get the colour of
    the nearest frequent one.
    """
    colors, codes, counts = np.unique(
        rgb.reshape(-1, 3)[off_lines.ravel()], axis=0, return_inverse=True, return_counts=True
    )
    is_frequent = counts >= min(MIN_COLOR * off_lines.size, counts.max())
    indices = np.full(off_lines.shape, -1, np.int32)
    indices[off_lines] = np.where(is_frequent, np.cumsum(is_frequent) - 1, -1)[codes.ravel()]
    return fill_from_nearest(indices, indices >= 0), colors[is_frequent]


def _nearest(colors: np.ndarray, table: np.ndarray) -> np.ndarray:
    return ((to_oklab(colors)[:, None] - to_oklab(table)[None]) ** 2).sum(-1).argmin(1)


def _color(color: np.ndarray) -> Color:
    return int(color[0]), int(color[1]), int(color[2])


# ----------------------------------------------------------------------------------------------- OpenMoji


def visible_openmoji(art: Path) -> list[Path]:
    """Returns the half of OpenMoji that may be looked at: paths GROUP/HEXCODE.svg, sorted by code.

    The other half is kept for a final test. Skin tones, flags and OpenMoji's own extras are left out.
    """
    rows = json.loads((art / "openmoji.json").read_text("utf-8"))
    names = [
        Path(row["group"], f"{row['hexcode']}.svg")
        for row in rows
        if not row["skintone"]
        and row["group"] not in ("flags", "extras-openmoji")
        and not row["hexcode"].startswith("1F3F4-E0")
        and zlib.crc32(row["hexcode"].encode()) % 2 == 0
    ]
    return sorted(names, key=lambda name: name.stem)


def read_openmoji(art: Path, name: Path, size: int, palette: Palette | None) -> Case:
    """Renders a pictogram of OpenMoji: its black version is the drawing, its coloured version the truth."""
    drawing, wanted = (render_svg(art / style / name, size) for style in ("black", "color"))
    return make_case(name.stem, on_white(drawing), wanted, palette)


def render_svg(path: Path, size: int) -> np.ndarray:
    """Renders an SVG file: uint8 [size, size, 4]."""
    import resvg_py

    png = resvg_py.svg_to_bytes(svg_string=path.read_text(), width=size, height=size, dpi=DPI)
    return np.array(Image.open(io.BytesIO(bytes(png))).convert("RGBA"))


# ----------------------------------------------------------------------------------------------- in code


def trivial_cases(size: int, palette: Palette | None) -> list[Case]:
    """Returns three drawings of one line each: a circle, a frame as large as the page, and a horizon.

    The circle, the inside of the frame and the sky are wanted red, and the rest is paper.
    """
    pen, cases = max(2, round(0.01 * size)), []
    x = np.linspace(0, size - 1, 64)
    horizon = np.stack([x, size * (0.55 + 0.03 * np.sin(x / size * 7))], axis=-1)
    margin = 0.03 * size
    corners = [
        (margin, margin),
        (size - margin, margin),
        (size - margin, size - margin),
        (margin, size - margin),
    ]
    angles = np.linspace(0, 2 * np.pi, 128, endpoint=False)
    circle = size * (0.5 + 0.3 * np.stack([np.cos(angles), np.sin(angles)], axis=-1))
    sky = np.concatenate([horizon, [(size, 0), (0, 0)]])
    for name, line, region in (
        ("circle", circle, circle),
        ("frame", np.array(corners), np.array(corners)),
        ("horizon", horizon, sky),
    ):
        drawing = np.full((size, size, 3), PAPER, np.uint8)
        points = [np.rint(line).astype(np.int32)]
        cv2.polylines(drawing, points, name != "horizon", (0, 0, 0), pen, cv2.LINE_AA)
        wanted = np.zeros((size, size, 4), np.uint8)
        cv2.fillPoly(wanted, [np.rint(region).astype(np.int32)], (200, 40, 40, 255))
        cases.append(make_case(name, drawing, wanted, palette))
    return cases


def on_white(rgba: np.ndarray) -> np.ndarray:
    """Puts an image, uint8 [H, W, 4], on white: uint8 [H, W, 3]."""
    opacity = rgba[..., 3:] / np.float32(255)
    return np.rint(rgba[..., :3] * opacity + PAPER * (1 - opacity)).astype(np.uint8)


def encode_png(pixels: np.ndarray) -> bytes:
    """Encodes uint8 [H, W, 3 or 4] as PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()
