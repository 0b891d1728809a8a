"""Colours a drawing with a network: one or several label maps of the drawing's own size."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
from scipy.ndimage import find_objects

from linewash.coloring import hint_strokes, label_decoding, locks
from linewash.coloring.line_extraction import Drawing
from linewash.coloring.model_loader import Network
from linewash.coloring.paper import Background, Ground
from linewash.coloring.reference import Reference
from linewash.coloring.segmentation import renumber
from linewash.coloring.transparency import STRIP_ROWS
from tfrecords_schema import Palette
from training.errors import UsageError
from training.metrics.logit_adjustment import MAX_TAU, logit_offset
from training.metrics.reference_matching import DEFAULT_STRENGTH, reference_bias

LINE_COLOR = (34, 31, 38)  # RGB of the lines that are drawn over the colours
Origin = Literal["network", "hint", "paper", "locked"]
ORIGIN_NAMES: tuple[Origin, ...] = ("network", "hint", "paper", "locked")
PAPER_COLOR = (255, 255, 255)
# The network expects the white of paper everywhere. But paper is known where it is, and the rest is figure or
# painted: there its odds of white are multiplied by this. Chosen with scripts/bench/guessing.py: with 1, most
# figures stay white.
WHITE_ODDS = 0.25
MIN_WHITE = 230  # of red, green and blue of a white; a palette without one, as the article's, knows no paper
MAX_VIVID = MAX_TAU
_HEX_COLOR = re.compile("#[0-9a-fA-F]{6}")
SOFTNESS = 1.0  # px of the line map: radius by which corners of regions are rounded when they are resized
MARGIN = 4  # px of the line map: the blurred mask of a region ends within this distance of it


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
    background: what becomes of the paper around the figures: "paper" stays white, "paint" is coloured by the
      network, "transparent" is left out of PNGs; "auto" keeps the paper unless the border of the image closes
      the figures, as that of a landscape does.
    only_colors: the colours that the network may choose, as indices of its palette or as "#rrggbb" for the
      palette colour nearest to it; None for all. A hint may have any other colour.
    reference: how much of each colour is wanted, for a network that takes a reference; None for no wish.
    vivid: brings colours forward that are rare in the training data, more with a larger number, from 0 to 3;
      0 changes nothing. It is τ of training/metrics/logit_adjustment.py.
    reference_strength: how far the colours are brought to the reference beyond what the network does, from 0,
      not at all, to 1, all the way; see training/metrics/reference_matching.py.

    Raises:
      UsageError: a value is out of range.
    """

    decode: label_decoding.Decode = "vote"
    size: int | None = None
    variants: int = 1
    seed: int = 0
    temperature: float | None = None
    background: Background = "auto"
    only_colors: tuple[int | str, ...] | None = None
    reference: Reference | None = None
    vivid: float = 0.0
    reference_strength: float = DEFAULT_STRENGTH

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
        if not 0 <= self.vivid <= MAX_VIVID:
            raise UsageError(f"--vivid must be 0 to {MAX_VIVID:g}; got {self.vivid:g}")
        if not 0 <= self.reference_strength <= 1:
            raise UsageError(f"--reference-strength must be 0 to 1; got {self.reference_strength:g}")
        if self.background not in get_args(Background):
            choices = ", ".join(get_args(Background))
            raise UsageError(f"--background must be one of {choices}; got {self.background}")
        if self.only_colors is not None and not self.only_colors:
            raise UsageError("--only-colors must have at least one colour, such as 3,7,#ff8800")
        for color in self.only_colors or ():
            if isinstance(color, str) and not _HEX_COLOR.fullmatch(color):
                raise UsageError(
                    f"--only-colors: {color!r} is neither a number in the palette nor a colour like #ff8800"
                )


@dataclass(frozen=True)
class Region:
    """A region of one colour of a `ColoredImage`.

    number: for `ColoredImage.recolor`.
    mask: bool [H, W], the pixels of the region.
    color: RGB.
    origin: what decided the colour: "network", "hint", "paper" or "locked".
    likeliest: RGB colours and their probabilities, the likeliest first.
    """

    number: int
    mask: np.ndarray
    color: tuple[int, int, int]
    origin: Origin
    likeliest: tuple[tuple[tuple[int, int, int], float], ...]


@dataclass(frozen=True)
class RegionMap:
    """The regions of a coloured drawing at its own size, shared by its variants.

    numbers: int32 [H, W], the region of each pixel.
    segmentation: the regions at the size of the line map.
    """

    numbers: np.ndarray
    segmentation: label_decoding.Segmentation


@dataclass(frozen=True)
class ColoredImage:
    """A coloured drawing.

    labels: uint16 [H, W], indices in `palette`, of the drawing's own size.
    palette: the network's colours, then the other colours of hints and of the paper.
    background: bool [H, W], where the image is transparent, or None if it is opaque.
    background_mode: the background that was chosen: "paper", "paint" or "transparent".
    region_map: None if the image was not made by `colorize`.
    """

    labels: np.ndarray
    palette: Palette
    drawing: Drawing
    background: np.ndarray | None = None
    background_mode: Background = "paint"
    region_map: RegionMap | None = None

    @property
    def regions(self) -> list[Region]:
        """The regions, the largest first. Each mask takes a byte a pixel, so read them one at a time."""
        return list(self.iter_regions())

    def iter_regions(self, num_likeliest: int = 5) -> Iterator[Region]:
        """Yields the regions, the largest first, with up to `num_likeliest` colours each."""
        if self.region_map is None:
            return
        numbers, segmentation = self.region_map.numbers, self.region_map.segmentation
        sizes = np.bincount(numbers.ravel(), minlength=len(segmentation.choices))
        for number in np.argsort(-sizes, kind="stable").tolist():
            if not sizes[number]:
                break
            mask = numbers == number
            probabilities = segmentation.probabilities[number]
            order = np.argsort(-probabilities, kind="stable")[:num_likeliest]
            yield Region(
                number,
                mask,
                self.palette.colors[self.labels.ravel()[mask.argmax()]],
                ORIGIN_NAMES[segmentation.origin_of_regions[number]],
                tuple(
                    (self.palette.colors[segmentation.colors[index]], float(probabilities[index]))
                    for index in order
                    if probabilities[index] > 0
                ),
            )

    def recolor(self, colors: Mapping[int, tuple[int, int, int]]) -> ColoredImage:
        """Returns the image with other colours of some regions.

        Args:
          colors: RGB by `Region.number`; any colours. On a transparent background they become opaque.

        Raises:
          ValueError: there is no region of a number.
        """
        count = 0 if self.region_map is None else len(self.region_map.segmentation.choices)
        if self.region_map is None or not all(0 <= number < count for number in colors):
            raise ValueError(f"expected numbers of regions from 0 to {count - 1}, got {sorted(colors)}")
        palette = list(self.palette.colors)
        _add_colors(palette, colors.values())
        table = np.full(count, -1)
        table[list(colors)] = [palette.index((c[0], c[1], c[2])) for c in colors.values()]
        labels = table[self.region_map.numbers]
        is_new = labels >= 0
        return dataclasses.replace(
            self,
            labels=np.where(is_new, labels, self.labels).astype(np.uint16),
            palette=hint_strokes.with_colors(self.palette, palette),
            background=None if self.background is None else self.background & ~is_new,
        )

    def replace_colors(self, colors: Mapping[tuple[int, int, int], tuple[int, int, int]]) -> ColoredImage:
        """Returns the image with other colours in place of some, RGB each, in one step. Hints keep theirs."""
        is_hint = np.array(False)
        if self.region_map is not None:
            origins = self.region_map.segmentation.origin_of_regions
            is_hint = (origins == label_decoding.HINT)[self.region_map.numbers]
        (labels,), palette = _replace_labels([self.labels], is_hint, self.palette, colors)
        return dataclasses.replace(self, labels=labels, palette=palette)

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


@dataclass(frozen=True)
class Coloring:
    """The colours of a drawing's regions, in several variants, at the size of its line map.

    palette: the network's colours, then the other colours of hints, locks, the paper and replacements.
    areas: int32 [h, w], the areas between lines, from 0. A hint stroke fills one of them.
    segmentation: the regions. An area may be divided into several.
    labels: the variants, the likeliest first: the palette index of each region, uint16 [R] each.
    background: "paper", "paint" or "transparent".
    """

    drawing: Drawing
    palette: Palette
    areas: np.ndarray
    segmentation: label_decoding.Segmentation
    labels: list[np.ndarray]
    background: Background

    @property
    def is_left_out(self) -> np.ndarray:
        """Whether each region belongs to a transparent background: bool [R]."""
        is_paper = self.segmentation.origin_of_regions == label_decoding.PAPER
        return is_paper & (self.background == "transparent")

    def image(self, variant: int, drawing: Drawing | None = None) -> ColoredImage:
        """Returns a variant as an image of the size of the drawing, or of `drawing`, the same one resized."""
        return next(self._images([self.labels[variant]], drawing or self.drawing))

    def images(self) -> list[ColoredImage]:
        """Returns all variants as images of the drawing's size."""
        return list(self._images(self.labels, self.drawing))

    def replace_colors(self, colors: Mapping[tuple[int, int, int], tuple[int, int, int]]) -> Coloring:
        """Returns the variants with other colours in place of some; see `ColoredImage.replace_colors`."""
        is_hint = self.segmentation.origin_of_regions == label_decoding.HINT
        labels, palette = _replace_labels(self.labels, is_hint, self.palette, colors)
        return dataclasses.replace(self, labels=labels, palette=palette)

    def _images(self, variants: list[np.ndarray], drawing: Drawing) -> Iterator[ColoredImage]:
        region_map = RegionMap(resize_labels(self.segmentation.regions, *drawing.shape), self.segmentation)
        is_left_out = self.is_left_out[region_map.numbers] if self.background == "transparent" else None
        for labels in variants:
            yield ColoredImage(
                labels[region_map.numbers], self.palette, drawing, is_left_out, self.background, region_map
            )


def _replace_labels(
    variants: list[np.ndarray],
    is_hint: np.ndarray,
    palette: Palette,
    colors: Mapping[tuple[int, int, int], tuple[int, int, int]],
) -> tuple[list[np.ndarray], Palette]:
    """Replaces colours in label maps of any shape, except where a hint is; returns also the new palette."""
    extended = list(palette.colors)
    _add_colors(extended, colors.values())
    table = np.array([extended.index(colors.get(color, color)) for color in palette.colors], np.uint16)
    replaced = [np.where(is_hint, labels, table[labels]) for labels in variants]
    return replaced, hint_strokes.with_colors(palette, extended)


def colorize(
    drawing: Drawing,
    network: Network,
    settings: Settings | None = None,
    hints: np.ndarray | None = None,
    locked: np.ndarray | None = None,
) -> list[ColoredImage]:
    """Colours a drawing `settings.variants` times. Equal arguments give equal images.

    Args:
      hints: strokes in the wanted colours on transparency, uint8 [h, w, 4] of the drawing's aspect ratio.
      locked: the colours of an earlier colouring that stay, uint8 [h, w, 4] of the same aspect ratio,
        transparent where the colours are free; see `locks.find_kept`. Hints count more.

    Returns:
      The coloured images, the likeliest first. They are fewer than `settings.variants` if the network is too
      sure of its colours.

    Raises:
      UsageError: the network does not accept a reference, has no colour of a number in `only_colors`, or
        lacks the colour frequencies that `vivid` needs.
      WorkError: the hints or the locked colours do not fit the drawing, the hints contain no stroke, or the
        network is damaged.
    """
    return choose_colors(drawing, network, settings or Settings(), hints, locked).images()


def choose_colors(
    drawing: Drawing,
    network: Network,
    settings: Settings,
    hints: np.ndarray | None = None,
    locked: np.ndarray | None = None,
) -> Coloring:
    """Chooses the colours of a drawing; arguments and errors as for `colorize`."""
    height, width = network_shape(*drawing.shape, settings.size or network.image_size)
    small_lines = drawing.lines(height, width)
    areas = label_decoding.Areas.find(drawing.line_map, drawing.stroke_mask)
    ground = Ground.find(areas.regions)
    background = _resolve_background(settings.background, drawing, ground)
    palette, hint_map = network.palette, None
    if hints is not None:
        hint_strokes.check_strokes(hints, *drawing.shape)
        hint_labels, palette = hint_strokes.to_labels(hints, network.palette)
        hint_map = hint_strokes.resize_strokes(hint_labels, *drawing.line_map.shape)
    outside = None
    if background != "paint":
        outside = ground.areas
        palette = _with_colors(palette, [PAPER_COLOR])
    is_paper = _find_paper(areas.regions, outside, height, width)
    # The network colours without the hints, so that areas without a hint keep their colours.
    scores = _color_probabilities(network, small_lines, None, settings, is_paper)
    whole = _decided_areas(areas.regions, hint_map, outside)
    segmentation = _decode(
        scores, drawing.line_map, small_lines, areas.regions, whole, network.palette, settings,
        on_paper=outside is not None,
    )  # fmt: skip
    if hints is not None and network.takes_hints:
        # It takes the hints only for the alternatives: the variants and `Region.likeliest`.
        nearest = np.append(0, hint_strokes.nearest_in_oklab(palette.rgb, network.palette.rgb) + 1)
        small_hints = nearest[hint_strokes.resize_strokes(hint_labels, height, width)]
        guided = _color_probabilities(network, small_lines, small_hints, settings, is_paper)
        segmentation = label_decoding.with_probabilities(
            segmentation, guided, drawing.line_map, small_lines.astype(np.uint8)
        )
    segmentation = label_decoding.apply_hints(
        segmentation,
        areas,
        hint_map,
        outside,
        palette.colors.index(PAPER_COLOR) if outside is not None else 0,
        spreads=outside is not None and ground.is_around_figure,
    )
    if locked is not None:
        hint_strokes.check_shape("locked colours", locked, *drawing.shape, "lock the colours again")
        segmentation, palette = _lock(segmentation, palette, areas.regions, hint_map, locked)
    temperature = settings.temperature if settings.temperature and settings.decode != "mean" else 1.0
    choices = segmentation.sample_choices(settings.variants, settings.seed, temperature)
    labels = [segmentation.region_labels(choice) for choice in choices]
    return Coloring(drawing, palette, areas.regions, segmentation, labels, background)


def _lock(
    segmentation: label_decoding.Segmentation,
    palette: Palette,
    areas: np.ndarray,
    hint_map: np.ndarray | None,
    locked: np.ndarray,
) -> tuple[label_decoding.Segmentation, Palette]:
    """Gives areas their locked colours; returns the segmentation and the palette with these colours."""
    is_wide = label_decoding.find_wide(areas)
    is_hinted = np.zeros_like(is_wide) if hint_map is None else label_decoding.find_hinted(areas, hint_map)
    kept = locks.find_kept(areas, locks.to_codes(locked, *areas.shape), is_hinted, is_wide)
    colors = locks.code_colors(kept)
    palette = _with_colors(palette, colors)
    codes = np.array([locks.FREE, *((r << 16) + (g << 8) + b for r, g, b in colors)])
    labels = np.array([-1, *(palette.colors.index(color) for color in colors)])
    return locks.apply_locks(segmentation, areas, labels[np.searchsorted(codes, kept)]), palette


def _with_colors(palette: Palette, colors: Iterable[tuple[int, int, int]]) -> Palette:
    """Returns a palette with further colours at its end."""
    extended = list(palette.colors)
    _add_colors(extended, colors)
    return hint_strokes.with_colors(palette, extended)


def _add_colors(palette: list[tuple[int, int, int]], colors: Iterable[tuple[int, int, int]]) -> None:
    """Appends the colours, RGB, that a list of colours does not have yet."""
    known = set(palette)
    for red, green, blue in colors:
        if (red, green, blue) not in known:
            known.add((red, green, blue))
            palette.append((red, green, blue))


def find_colors(colors: tuple[int | str, ...], palette: Palette) -> list[int]:
    """Returns the palette indices of `Settings.only_colors`; the nearest colours in OKLab for "#rrggbb".

    Raises:
      UsageError: a number is not an index of the palette.
    """
    labels = []
    for color in colors:
        if isinstance(color, str):
            rgb = np.array([[*bytes.fromhex(color[1:])]], np.uint8)
            labels.append(int(hint_strokes.nearest_in_oklab(rgb, palette.rgb)[0]))
        elif 0 <= color < len(palette):
            labels.append(color)
        else:
            raise UsageError(
                f"--only-colors: the palette has the colours 0 to {len(palette) - 1}; got {color}"
            )
    return labels


def _color_probabilities(
    network: Network,
    lines: np.ndarray,
    hints: np.ndarray | None,
    settings: Settings,
    is_paper: np.ndarray,
) -> label_decoding.ColorProbabilities:
    """Returns the probability of each colour that `settings` allow; `is_paper` is bool [h, w]."""
    reference = None if settings.reference is None else settings.reference.weights(network.palette)
    logits = network.logits(lines, hints, reference)
    if settings.vivid:
        logits = logits - logit_offset(network.require_prior(), settings.vivid)
    if settings.only_colors is not None:
        is_allowed = np.zeros(logits.shape[-1], bool)
        is_allowed[find_colors(settings.only_colors, network.palette)] = True
        logits = np.where(is_allowed, logits, np.float32(-np.inf))
    white = hint_strokes.nearest_in_oklab(np.array([PAPER_COLOR], np.uint8), network.palette.rgb)[0]
    if reference is not None and settings.reference_strength:
        # The paper is white already, and what it has of white is not wanted in the figures.
        wanted = reference.copy()
        wanted[white] = max(wanted[white] - is_paper.mean(), 0)
        logits = logits + reference_bias(logits[~is_paper], wanted, settings.reference_strength)
    if network.palette.rgb[white].min() >= MIN_WHITE:
        odds = np.zeros(len(network.palette), np.float32)
        odds[white] = np.log(WHITE_ODDS)
        logits = logits + odds
    return label_decoding.ColorProbabilities.from_logits(logits)


def _resolve_background(background: Background, drawing: Drawing, ground: Ground) -> Background:
    """Returns "paper", "paint" or "transparent": decides "auto" by the drawing."""
    if background != "auto":
        return background
    has_ink = bool(drawing.stroke_mask.any())  # a photo has edges, and no paper between them
    return "paper" if has_ink and ground.is_paper else "paint"


def _find_paper(regions: np.ndarray, outside: np.ndarray | None, height: int, width: int) -> np.ndarray:
    """Returns where the areas `outside` are, at the network's size: bool [height, width]."""
    if outside is None:
        return np.zeros((height, width), bool)
    mask = np.isin(regions, outside).astype(np.uint8)
    return cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST).astype(bool)


def _decided_areas(
    regions: np.ndarray, hint_map: np.ndarray | None, outside: np.ndarray | None
) -> np.ndarray:
    """Returns the numbers of the areas that the network does not decide on."""
    hinted = regions[:0, 0] if hint_map is None else np.unique(regions[hint_map > 0])
    return hinted if outside is None else np.union1d(hinted, outside)


def network_shape(height: int, width: int, size: int) -> tuple[int, int]:
    """Returns the size at which the network sees a drawing: its aspect ratio, and about size² pixels.

    With as many pixels as in training, objects are about as large as in training at any aspect ratio.
    """
    scale = size / np.sqrt(height * width)
    return max(8, round(height * scale)), max(8, round(width * scale))


def resize_labels(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes a label map, integers [h, w], to [height, width] with smooth borders.

    The mask of each label is blurred and resized; each pixel gets the label whose mask is largest there. Each
    mask is resized within its own box only, because a map may have hundreds of labels.
    """
    largest = np.zeros((height, width), np.float32)
    resized = np.zeros((height, width), labels.dtype)
    used, numbers = renumber(labels)
    scale_y, scale_x = height / labels.shape[0], width / labels.shape[1]
    for index, box in enumerate(find_objects(numbers + 1)):
        (top, bottom), (left, right) = (
            (max(side.start - MARGIN, 0), min(side.stop + MARGIN, length))
            for side, length in zip(box, labels.shape, strict=True)
        )
        mask = (numbers[top:bottom, left:right] == index).astype(np.float32)
        mask = cv2.GaussianBlur(mask, (0, 0), SOFTNESS, borderType=cv2.BORDER_REPLICATE)
        # In whole numbers: a rounded quotient may lead one pixel beyond the border.
        rows = slice(*(-(-row * height // labels.shape[0]) for row in (top, bottom)))
        columns = slice(*(-(-column * width // labels.shape[1]) for column in (left, right)))
        shape = rows.stop - rows.start, columns.stop - columns.start
        if 0 in shape:
            continue
        if (height, width) != labels.shape:
            mask = _resize_window(mask, rows.start, columns.start, shape, top, left, scale_y, scale_x)
        window = largest[rows, columns]
        np.copyto(resized[rows, columns], used[index].astype(labels.dtype), where=mask > window)
        np.maximum(window, mask, out=window)
    return resized


def _resize_window(
    mask: np.ndarray,
    first_row: int,
    first_column: int,
    shape: tuple[int, int],
    top: int,
    left: int,
    scale_y: float,
    scale_x: float,
) -> np.ndarray:
    """Samples a window of an image that is `scale` times as large as the one in which a mask lies.

    Args:
      mask: float32 [h, w], whose first pixel is (top, left).
      first_row, first_column, shape: the window in pixels of the large image.

    Returns:
      float32 of `shape`.
    """
    # The centre of pixel y of the large image lies at (y + 0.5) / scale - 0.5 of the small one.
    to_small = np.array(
        [
            [1 / scale_x, 0, (first_column + 0.5) / scale_x - 0.5 - left],
            [0, 1 / scale_y, (first_row + 0.5) / scale_y - 0.5 - top],
        ]
    )
    return cv2.warpAffine(
        mask,
        to_small,
        shape[::-1],
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


def _decode(
    scores: label_decoding.ColorProbabilities,
    line_map: np.ndarray,
    small_lines: np.ndarray,
    regions: np.ndarray,
    whole: np.ndarray,
    palette: Palette,
    settings: Settings,
    on_paper: bool,
) -> label_decoding.Segmentation:
    height, width = line_map.shape
    if settings.decode == "argmax":
        return label_decoding.decode_by_argmax(scores, height, width)
    if settings.decode == "mean":
        temperature = settings.temperature or label_decoding.ANNEALED_TEMPERATURE
        return label_decoding.decode_by_mean(scores, palette, height, width, temperature)
    is_unsure = on_paper and settings.reference is None
    sharpness = label_decoding.FIGURE_SHARPNESS if is_unsure else label_decoding.SHARPNESS
    return label_decoding.decode_by_vote(
        scores, palette, line_map, small_lines.astype(np.uint8), regions, whole, sharpness
    )
