"""Decodes the network's scores to a label map: by vote, by argmax or by the annealed mean.

A posterized image is seen as regions, so a pixel that differs from all its neighbours is a visible error
whatever its colour. The vote avoids such pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import cv2
import numpy as np
from scipy.ndimage import find_objects
from scipy.sparse import coo_array, csr_array

from linewash.coloring import flooding, gap_closing
from linewash.coloring.segmentation import renumber, segment
from preprocess.lines.stroke_detection import reference_side
from preprocess.nearest_pixel import fill_from_nearest
from tfrecords_schema import Palette
from training.metrics.ciede2000 import difference_table
from training.metrics.color_spaces import to_oklab

Decode = Literal["vote", "argmax", "mean"]
MAX_COLORS = 64  # of a larger palette only the likeliest colours are considered, to save memory
# Zhang et al. 2016, "Colorful image colorization", section 2.3: between the mode (0) and the mean (1).
ANNEALED_TEMPERATURE = 0.38
DIFFUSION_RADIUS = 0.09  # distance over which neighbours contribute, as a fraction of the reference side
MAX_GAP = 0.025  # line ends closer than this (the same fraction) are connected
# Of the expected difference: 1 is cautious and greyish, and large numbers are the likeliest colour. A network
# that is sure is mostly right in a scene, or with a reference, and often wrong about a figure on paper.
SHARPNESS, FIGURE_SHARPNESS = 2.0, 1.25
# CIEDE2000 by which a colour may be farther off if it is lighter by 1, or more colourful by 1, in OKLab: of
# two colours of about the same risk, the brighter one looks less dull.
BRIGHTNESS = 10.0
MIN_AGREEMENT = 0.6  # a region in which this fraction of the pixels agrees gets one colour
MAX_OPEN_REGION = 0.12  # a region up to this fraction of the image gets one colour in any case ...
MAX_ENCLOSED_REGION = 0.3  # ... or up to this if lines enclose it; an open one may be sky and meadow in one
MIN_PATCH = 0.004  # when a region is split, patches below this fraction of the image are dropped ...
MIN_PRESENCE = 0.08  # ... and so are colours that cover less than this fraction of the region
MIN_STROKE_ON_REGION = 0.2  # a hint stroke with less than this fraction on a region does not colour it ...
MIN_REGION_UNDER_STROKE = 0.02  # ... unless it covers this fraction of the region
MIN_DIFFERENCE = 0.02  # fraction of the pixels in which two variants differ at least
ATTEMPTS_PER_VARIANT = 40
NETWORK, HINT, PAPER, LOCKED = range(4)  # what decides the colour of a region
OPEN_LEVELS = 1  # a hint that reaches the border of the image over gaps this much higher lies on the ground
MAX_HEATING = 3.0  # the temperature of the variants rises to at most this many times the given one


@dataclass(frozen=True)
class ColorProbabilities:
    """The network's probability of each candidate colour at each pixel, at the network's size.

    probabilities: float32 [h, w, C], summing to 1.
    colors: int [C], the palette index of each candidate.
    """

    probabilities: np.ndarray
    colors: np.ndarray

    @classmethod
    def from_logits(cls, logits: np.ndarray) -> ColorProbabilities:
        """Applies softmax to logits [h, w, K]. A colour whose logits are all -inf is no candidate."""
        probabilities = np.exp(logits - logits.max(-1, keepdims=True))
        probabilities /= probabilities.sum(-1, keepdims=True)
        colors = np.flatnonzero(logits.max((0, 1)) > -np.inf)
        if len(colors) < logits.shape[-1]:
            probabilities = probabilities[..., colors]
        if len(colors) > MAX_COLORS:
            likeliest = np.sort(np.argsort(-probabilities.mean((0, 1)), kind="stable")[:MAX_COLORS])
            colors, probabilities = colors[likeliest], probabilities[..., likeliest] + 1e-9
            probabilities /= probabilities.sum(-1, keepdims=True)
        return cls(probabilities.astype(np.float32), colors)

    def resized(self, height: int, width: int) -> Iterator[np.ndarray]:
        """Yields the probability of each colour, float32 [height, width], one at a time to save memory."""
        for index in range(len(self.colors)):
            yield cv2.resize(
                np.ascontiguousarray(self.probabilities[..., index]), (width, height),
                interpolation=cv2.INTER_LINEAR,
            )  # fmt: skip

    def argmax(self, height: int, width: int) -> np.ndarray:
        """Returns the index in `colors` of the likeliest colour at another size: int32 [height, width]."""
        highest, indices = np.zeros((height, width), np.float32), np.zeros((height, width), np.int32)
        for index, probability in enumerate(self.resized(height, width)):
            indices[probability > highest] = index
            np.maximum(highest, probability, out=highest)
        return indices


@dataclass(frozen=True)
class Areas:
    """The areas between the lines of a drawing before any of them has a colour.

    regions: int32 [H, W], from 0; gaps in outlines are closed.
    height: int32 [H, W], `flooding.terrain`.
    """

    regions: np.ndarray
    height: np.ndarray

    @classmethod
    def find(cls, lines: np.ndarray, strokes: np.ndarray) -> Areas:
        """Finds the areas between thin lines, uint8 [H, W] in {0, 1}; strokes: all pixels that they cover."""
        joints = gap_closing.close_gaps(lines)
        regions = segment(lines | joints, MAX_GAP * reference_side(lines.shape))
        return cls(regions, flooding.terrain(lines, strokes, joints))


@dataclass(frozen=True)
class Segmentation:
    """A decoded image as regions of one colour each, with the probabilities of the alternatives.

    regions: int32 [H, W], the number of each pixel's region.
    choices: int [R], the index in `colors` of each region's colour.
    probabilities: float [R, C], of each candidate colour in each region.
    colors: int [C], the palette index of each candidate.
    origins: int [R], what decides the colour of each region: NETWORK, HINT, PAPER or LOCKED; None if it is
      NETWORK everywhere.
    """

    regions: np.ndarray
    choices: np.ndarray
    probabilities: np.ndarray
    colors: np.ndarray
    origins: np.ndarray | None = None

    @property
    def labels(self) -> np.ndarray:
        """Palette indices, uint16 [H, W]."""
        return self.region_labels(self.choices)[self.regions]

    def region_labels(self, choices: np.ndarray) -> np.ndarray:
        """Returns the palette index of each region, uint16 [R]."""
        return self.colors[choices].astype(np.uint16)

    @property
    def origin_of_regions(self) -> np.ndarray:
        """`origins` as an array, int [R]."""
        return np.zeros(len(self.choices), np.int64) if self.origins is None else self.origins

    def variants(self, count: int, seed: int, temperature: float = 1.0) -> list[np.ndarray]:
        """Returns up to `count` different label maps, uint16 [H, W], the first being `labels`.

        See `sample_choices`.
        """
        return [self.region_labels(c)[self.regions] for c in self.sample_choices(count, seed, temperature)]

    def sample_choices(self, count: int, seed: int, temperature: float = 1.0) -> list[np.ndarray]:
        """Returns up to `count` different choices, int [R] each, the first being `choices`.

        Colours are sampled from their probabilities, sharpened (below 1) or flattened (above 1) by the
        temperature. All regions of one colour are sampled together, so that the parts of a sky behind the
        branches of a tree stay one sky. Hints, paper and locks keep their colours. The temperature rises up
        to `MAX_HEATING` times until the samples differ in enough pixels; fewer are returned if they do not.
        """
        rng = np.random.default_rng(seed)
        sizes = np.bincount(self.regions.ravel(), minlength=len(self.choices))
        min_pixels = MIN_DIFFERENCE * self.regions.size
        max_temperature = MAX_HEATING * temperature
        samples = [self.choices]
        for _ in range(ATTEMPTS_PER_VARIANT * (count - 1)):
            if len(samples) == count:
                break
            sample = self._sample(rng, temperature)
            if all(sizes[sample != other].sum() >= min_pixels for other in samples):
                samples.append(sample)
            else:
                temperature = min(1.05 * temperature, max_temperature)
        return samples

    def _sample(self, rng: np.random.Generator, temperature: float) -> np.ndarray:
        """Samples a choice for each region, int [R], by the Gumbel-max trick.

        Regions of one colour share the noise.
        """
        noise = rng.gumbel(size=(len(self.colors), len(self.colors)))
        is_possible = self.probabilities > 0
        scores = np.where(is_possible, np.log(self.probabilities + 1e-12) / temperature, -np.inf)
        sample = (scores + noise[self.choices]).argmax(1)
        is_kept = (self.origin_of_regions != NETWORK) | ~is_possible.any(1)
        return np.where(is_kept, self.choices, sample)


def decode_by_argmax(scores: ColorProbabilities, height: int, width: int) -> Segmentation:
    """Chooses the likeliest colour of each pixel.

    Probabilities are resized rather than labels, which gives smooth borders.
    """
    return _group_by_color(scores, scores.argmax(height, width))


def decode_by_mean(
    scores: ColorProbabilities,
    palette: Palette,
    height: int,
    width: int,
    temperature: float = ANNEALED_TEMPERATURE,
) -> Segmentation:
    """Chooses the palette colour nearest to the annealed mean in OKLab (Zhang et al. 2016, equation 5)."""
    table = to_oklab(palette.rgb[scores.colors])
    # Logarithms shifted to at most 0: at a low temperature all powers would underflow otherwise.
    logarithms = np.log(scores.probabilities + 1e-9)
    powers = np.exp((logarithms - logarithms.max(-1, keepdims=True)) / temperature)
    mean = (powers / powers.sum(-1, keepdims=True)) @ table
    mean = cv2.resize(mean.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    smallest, indices = np.full((height, width), np.inf, np.float32), np.zeros((height, width), np.int32)
    for index, color in enumerate(table.astype(np.float32)):
        distance = ((mean - color) ** 2).sum(-1)
        indices[distance < smallest] = index
        np.minimum(smallest, distance, out=smallest)
    return _group_by_color(scores, indices)


def decode_by_vote(
    scores: ColorProbabilities,
    palette: Palette,
    lines: np.ndarray,
    small_lines: np.ndarray,
    regions: np.ndarray | None = None,
    whole: np.ndarray | None = None,
    sharpness: float = SHARPNESS,
) -> Segmentation:
    """Lets the pixels of each region between lines vote on its colour; for the choice see `choose_colors`.

    A large region whose pixels disagree is split where their colours change.

    Args:
      palette: the colours of the network.
      lines: uint8 [H, W] in {0, 1}, thin: the borders of the regions.
      small_lines: the same lines at the size of `scores`.
      regions: int32 [H, W], `Areas.regions`; None to find them.
      whole: numbers of regions that are not split, because hints or the paper decide on them; None for none.
      sharpness: see `choose_colors`.
    """
    height, width = lines.shape
    radius = DIFFUSION_RADIUS * reference_side(small_lines.shape)
    smoothed = ColorProbabilities(diffuse(scores.probabilities, small_lines, radius), scores.colors)
    weights, is_off_lines = _weights(lines, small_lines.shape)
    if regions is None:
        regions = Areas.find(lines, lines).regions
    probabilities = _mean_probabilities(smoothed, regions, weights)
    rgb = palette.rgb[scores.colors]
    likeliest = probabilities.argmax(1)
    sizes = np.bincount(regions.ravel())
    is_split = find_wide(regions)
    if whole is not None:
        is_split[whole] = False
    if is_split.any():  # the colours of the pixels are expensive, and most drawings do not need them
        by_pixel = smoothed.argmax(height, width)
        agreement = np.bincount(regions.ravel(), (by_pixel == likeliest[regions]).ravel()) / sizes
        is_split &= agreement < MIN_AGREEMENT
    if not is_split.any():
        return Segmentation(
            regions, choose_colors(probabilities, rgb, sharpness), probabilities, scores.colors
        )
    for region in np.flatnonzero(is_split):
        inside = regions == region
        patches = _split_region(by_pixel, inside & is_off_lines, regions.size)
        regions = np.where(inside, regions.max() + 1 + patches, regions)
    numbers, regions = renumber(regions)
    probabilities = _mean_probabilities(smoothed, regions, weights)
    choices = choose_colors(probabilities, rgb, sharpness)
    # A patch keeps the colour by which it was split off.
    for index in np.flatnonzero(numbers >= len(likeliest)):
        counts = np.bincount(by_pixel[(regions == index) & is_off_lines], minlength=len(scores.colors))
        choices[index] = counts.argmax()
    return Segmentation(regions, choices, probabilities, scores.colors)


def choose_colors(probabilities: np.ndarray, rgb: np.ndarray, sharpness: float = SHARPNESS) -> np.ndarray:
    """Returns the colour of each region whose expected difference from the true one is smallest: int [R].

    Σ p(true) ΔE(colour, true) is the risk of a colour (Berger, "Statistical decision theory and Bayesian
    analysis", 1985, section 1.3), here for p to the power `sharpness`. So a network that hesitates between
    red, orange and white paints orange, which is never far off, and a sure one paints what it is sure of. Of
    colours with about the same risk, `BRIGHTNESS` prefers the lighter and the more colourful one.

    Args:
      probabilities: float [R, C].
      rgb: uint8 [C, 3], the colours.
      sharpness: above 1, likely colours count more.
    """
    weights = probabilities**sharpness
    risk = (
        weights / np.maximum(weights.sum(1, keepdims=True), np.finfo(np.float32).tiny) @ difference_table(rgb)
    )
    oklab = to_oklab(rgb)
    return (risk - BRIGHTNESS * (oklab[:, 0] + np.hypot(oklab[:, 1], oklab[:, 2]))).argmin(1)


def find_wide(regions: np.ndarray) -> np.ndarray:
    """Returns for each of the regions, int32 [H, W], whether it is so wide that it may be split: bool [R]."""
    sizes = np.bincount(regions.ravel())
    max_sizes = np.full(len(sizes), MAX_ENCLOSED_REGION * regions.size)
    border = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    max_sizes[border] = MAX_OPEN_REGION * regions.size
    return np.asarray(sizes > max_sizes)


def with_probabilities(
    segmentation: Segmentation, scores: ColorProbabilities, lines: np.ndarray, small_lines: np.ndarray
) -> Segmentation:
    """Replaces the probabilities of the alternatives, but no choice; arguments as in `decode_by_vote`."""
    probabilities = _mean_probabilities(scores, segmentation.regions, _weights(lines, small_lines.shape)[0])
    colors = np.union1d(segmentation.colors, scores.colors)
    columns = np.zeros((len(probabilities), len(colors)))
    columns[:, np.searchsorted(colors, scores.colors)] = probabilities
    choices = np.searchsorted(colors, segmentation.colors[segmentation.choices])
    return Segmentation(segmentation.regions, choices, columns, colors, segmentation.origins)


def apply_hints(
    segmentation: Segmentation,
    areas: Areas,
    hints: np.ndarray | None,
    outside: np.ndarray | None = None,
    paper: int = 0,
    spreads: bool = False,
) -> Segmentation:
    """Gives areas the colours of the hint strokes on them, and the paper its own.

    An area with strokes of one colour gets this colour. Strokes of several colours share their area: they
    flood it together and meet at the narrowest places between its lines. No other area changes, unless
    `spreads`.

    Args:
      hints: int [H, W], label + 1 or 0 for none; None without any.
      outside: numbers of the areas around the figures, which are paper unless there is a hint on them; None
        if there is no paper.
      paper: the label of paper.
      spreads: areas without hints, but not the paper, take the colour that floods over their lines first.
    """
    regions = areas.regions
    num_areas = int(regions.max()) + 1
    is_outside = np.zeros(num_areas, bool)
    if outside is not None:
        is_outside[outside] = True
    paper_source = 1 if hints is None else int(hints.max()) + 1
    strokes = np.zeros(regions.shape, np.int32)
    if hints is not None:
        strokes = _remove_spills(regions, hints).astype(np.int32)
    is_unhinted = np.ones(num_areas, bool)
    is_unhinted[regions[strokes > 0]] = False
    single = np.where(is_outside & is_unhinted, paper_source, 0).astype(np.int32)
    if outside is not None and not is_unhinted[outside].all():
        _add_paper(strokes, areas, is_outside & ~is_unhinted, paper_source)
    on_stroke = strokes > 0
    pairs = np.unique(np.stack([regions[on_stroke], strokes[on_stroke]], 1), axis=0)
    num_colors = np.bincount(pairs[:, 0], minlength=num_areas)
    single[pairs[:, 0]] = np.where(num_colors[pairs[:, 0]] == 1, pairs[:, 1], 0)
    owner = single[regions]
    is_shared = (num_colors > 1)[regions]
    if is_shared.any():
        shared = flooding.flood(areas.height, np.where(is_shared, strokes, 0), is_shared)
        owner = np.where(is_shared, shared, owner)
    result = _fix(segmentation, regions, owner, paper, paper_source)
    if not spreads or is_unhinted.all():
        return result
    # The ground does not flood the figures.
    is_ground = is_outside[regions] & np.isin(owner, owner[[0, 0, -1, -1], [0, -1, 0, -1]])
    on_figure = np.where(is_ground, 0, owner)
    return _spread(result, areas, on_figure, on_stroke & (on_figure > 0), is_unhinted & ~is_outside)


def _add_paper(strokes: np.ndarray, areas: Areas, is_hinted_outside: np.ndarray, source: int) -> None:
    """Adds the border of the image to the strokes, in place, unless a hint lies on the open ground.

    The outline of a figure may be so open that figure and ground are one area. A hint belongs to the ground
    if nowhere on its way to the border lines stand much closer than around the hint.
    """
    ground = is_hinted_outside[areas.regions]
    border = np.zeros(strokes.shape, bool)
    border[[0, -1]] = border[:, [0, -1]] = True
    np.logical_and(border, ground, out=border)
    hinted = ground & (strokes > 0) & (areas.height < flooding.BARRIER)
    for level in np.unique(areas.height[hinted]).tolist():
        low = (ground & (areas.height <= level + OPEN_LEVELS)).astype(np.uint8)
        _, parts = cv2.connectedComponents(low, connectivity=4)
        open_parts = np.setdiff1d(parts[border], [0])
        if np.isin(parts[hinted & (areas.height == level)], open_parts).any():
            return
    strokes[border & (strokes == 0)] = source


def _fix(
    segmentation: Segmentation, regions: np.ndarray, owner: np.ndarray, paper: int, paper_source: int
) -> Segmentation:
    """Adds a region for each source of `owner`, int32 [H, W], label + 1 or paper, in each of `regions`."""
    inside = owner > 0
    if not inside.any():
        return segmentation
    sources, numbers = renumber(owner)
    keys, numbers = renumber((regions * len(sources) + numbers)[inside])
    sources = sources[keys % len(sources)]
    labels = np.where(sources == paper_source, paper, sources - 1)
    segmentation, indices = _with_candidates(segmentation, labels)
    new_regions = segmentation.regions.copy()
    new_regions[inside] = len(segmentation.choices) + numbers
    return _with_regions(
        segmentation,
        new_regions,
        indices,
        np.eye(len(segmentation.colors))[indices],
        np.where(sources == paper_source, PAPER, HINT),
    )


def _spread(
    segmentation: Segmentation, areas: Areas, sources: np.ndarray, on_stroke: np.ndarray, is_free: np.ndarray
) -> Segmentation:
    """Gives each free area the colour that floods most of it.

    If no line parts an area from a hint, its colour counts as that of a hint. Otherwise its alternatives keep
    the network's probabilities, so that variants may still choose another colour.

    Args:
      sources: int32 [H, W], label + 1 of the hinted areas of the figures.
      on_stroke: bool [H, W], the hints on the figures.
      is_free: bool, by number of the area.
    """
    regions = areas.regions
    free = is_free[regions]
    if not sources.any() or not free.any():
        return segmentation
    flooded = flooding.flood(areas.height, sources)
    sources_used, numbers = renumber(flooded)
    keys = regions[free] * len(sources_used) + numbers[free]
    counts = np.bincount(keys, minlength=len(is_free) * len(sources_used)).reshape(len(is_free), -1)
    used = np.flatnonzero(counts.any(1))
    is_paper = areas.height < flooding.RIDGE
    _, parts = cv2.connectedComponents(is_paper.astype(np.uint8), connectivity=4)
    is_hinted = np.zeros(int(parts.max()) + 1, bool)
    is_hinted[parts[on_stroke & is_paper]] = True
    is_open = np.zeros(len(is_free), bool)
    is_open[regions[free & is_paper & is_hinted[parts]]] = True
    numbers = np.full(len(is_free), -1)  # by number of the area, from 0
    numbers[used] = np.arange(len(used))
    return color_regions(
        segmentation,
        np.where(free, numbers[regions], -1),
        sources_used[counts[used].argmax(1)] - 1,
        np.where(is_open[used], HINT, NETWORK),
    )


def color_regions(
    segmentation: Segmentation, numbers: np.ndarray, labels: np.ndarray, origins: np.ndarray
) -> Segmentation:
    """Adds regions of given colours that keep the probabilities of the alternatives.

    Args:
      numbers: int [H, W], the new region of each pixel, from 0, or -1 where nothing changes.
      labels, origins: int [N], the colour of each new region and what decides it.
    """
    segmentation, indices = _with_candidates(segmentation, labels)
    inside = numbers >= 0
    # The probabilities of a region are the means of those that it replaces.
    shape = len(labels), len(segmentation.choices)
    parts = coo_array((np.ones(inside.sum()), (numbers[inside], segmentation.regions[inside])), shape)
    probabilities = csr_array(parts) @ segmentation.probabilities / parts.sum(1)[:, None]
    new_regions = segmentation.regions.copy()
    new_regions[inside] = len(segmentation.choices) + numbers[inside]
    return _with_regions(segmentation, new_regions, indices, probabilities, origins)


def _with_candidates(segmentation: Segmentation, labels: np.ndarray) -> tuple[Segmentation, np.ndarray]:
    """Adds labels, int [N], to the candidates; returns their indices, int [N], with the new segmentation."""
    new = np.setdiff1d(labels, segmentation.colors)
    colors = np.concatenate([segmentation.colors, new])
    probabilities = np.pad(segmentation.probabilities, ((0, 0), (0, len(new))))
    order = np.argsort(colors, kind="stable")
    indices = order[np.searchsorted(colors, labels, sorter=order)]
    return dataclasses.replace(segmentation, probabilities=probabilities, colors=colors), indices


def _with_regions(
    segmentation: Segmentation,
    regions: np.ndarray,
    choices: np.ndarray,
    probabilities: np.ndarray,
    origins: np.ndarray,
) -> Segmentation:
    """Adds regions with the next numbers, and removes those that have no pixel in `regions` any more."""
    numbers, regions = renumber(regions)
    return Segmentation(
        regions,
        np.concatenate([segmentation.choices, choices])[numbers],
        np.concatenate([segmentation.probabilities, probabilities])[numbers],
        segmentation.colors,
        np.concatenate([segmentation.origin_of_regions, origins])[numbers],
    )


def find_hinted(regions: np.ndarray, hints: np.ndarray) -> np.ndarray:
    """Returns for each of the regions, int32 [H, W], whether a stroke lies on it and colours it: bool [R]."""
    is_hinted = np.zeros(int(regions.max()) + 1, bool)
    is_hinted[regions[_remove_spills(regions, hints) > 0]] = True
    return is_hinted


def _remove_spills(regions: np.ndarray, hints: np.ndarray) -> np.ndarray:
    """Removes the parts of strokes that only slightly overlap a region, for example across a line."""
    strokes = hints.copy()
    sizes = np.bincount(regions.ravel())
    for label, box in enumerate(find_objects(hints), 1):
        if box is None:
            continue
        count, parts = cv2.connectedComponents((hints[box] == label).astype(np.uint8), connectivity=8)
        for part in range(1, count):
            stroke = parts == part
            overlap = np.bincount(regions[box][stroke], minlength=len(sizes))
            is_small_part = overlap < MIN_STROKE_ON_REGION * stroke.sum()
            is_spill = is_small_part & (overlap < MIN_REGION_UNDER_STROKE * sizes)
            strokes[box][stroke & is_spill[regions[box]]] = 0
    return strokes


def diffuse(values: np.ndarray, lines: np.ndarray, radius: float, rounds: int = 3) -> np.ndarray:
    """Smooths values over about `radius` pixels, but not across lines.

    Gastal and Oliveira 2011, "Domain transform for edge-aware image and video processing", the recursive
    filter of section 5, with lines in place of edges.

    Args:
      values: float32 [h, w, C].
      lines: uint8 [h, w] in {0, 1}.

    Returns:
      float32 [h, w, C].
    """
    blocked = lines.astype(bool)
    for number in range(rounds):
        sigma = radius * np.sqrt(3) * 2 ** (rounds - number - 1) / np.sqrt(4**rounds - 1)
        feedback = float(np.exp(-np.sqrt(2) / max(sigma, 1e-3)))
        values = _filter_columns(values, blocked, feedback)
        values = _filter_columns(values.transpose(1, 0, 2), blocked.T, feedback).transpose(1, 0, 2)
    return np.ascontiguousarray(values)


def _filter_columns(values: np.ndarray, blocked: np.ndarray, feedback: float) -> np.ndarray:
    """Filters down and up the first axis; blocked pixels neither pass nor receive anything."""
    values = np.ascontiguousarray(values)
    weights = np.where(blocked[1:] | blocked[:-1], 0.0, feedback).astype(np.float32)[..., None]
    weights = np.repeat(weights, values.shape[2], axis=2)  # one shape for all: numpy is slow to broadcast
    difference = np.empty_like(values[0])
    down = zip(values[:-1], values[1:], weights, strict=True)
    up = zip(values[:0:-1], values[-2::-1], weights[::-1], strict=True)
    for neighbour, row, weight in chain(down, up):
        np.subtract(neighbour, row, out=difference)
        np.multiply(difference, weight, out=difference)
        np.add(row, difference, out=row)
    return values


def _weights(lines: np.ndarray, small_shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the weight of each pixel in its region, float64 [H, W], and whether it is reliable.

    Beside a line the scores may belong to the line itself or to its other side.

    Args:
      small_shape: the size of the scores.
    """
    is_off_lines = cv2.distanceTransform(1 - lines, cv2.DIST_L2, 5) > max(lines.shape) / max(small_shape)
    return np.where(is_off_lines, 1.0, 0.02), is_off_lines


def _mean_probabilities(scores: ColorProbabilities, regions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns the weighted mean probability of each colour in each region: float64 [R, C].

    Each pixel has the probabilities of the cell of `scores` in which it lies. So the weights can be added up
    by region and cell first, which is much faster than enlarging the probabilities of each colour. They are
    added up along the rows even before that, because sorting all pixels by region and cell takes time.
    """
    (height, width), (rows, columns) = regions.shape, scores.probabilities.shape[:2]
    cell_columns = np.arange(width) * columns // width
    is_start = np.ones(regions.shape, bool)
    is_start[:, 1:] = (regions[:, 1:] != regions[:, :-1]) | (cell_columns[1:] != cell_columns[:-1])
    starts = np.flatnonzero(is_start)
    cells = starts // width * rows // height * columns + cell_columns[starts % width]
    sums_of_runs = np.add.reduceat(weights.ravel(), starts)
    shape = int(regions.max()) + 1, rows * columns
    by_cell = csr_array(coo_array((sums_of_runs, (regions.ravel()[starts], cells)), shape))
    sums = by_cell @ scores.probabilities.reshape(rows * columns, -1).astype(np.float64)
    return sums / np.maximum(by_cell.sum(1), 1e-12)[:, None]


def _split_region(by_pixel: np.ndarray, known: np.ndarray, image_pixels: int) -> np.ndarray:
    """Splits one region by the colours of its pixels, without specks and without fringes along lines.

    Args:
      by_pixel: int32 [H, W], the colour index of each pixel.
      known: bool [H, W], the pixels of the region that are reliable.
      image_pixels: number of pixels of the whole image.

    Returns:
      int32 [H, W], the colour index of the patch to which each pixel belongs.
    """
    counts = np.bincount(by_pixel[known], minlength=int(by_pixel.max()) + 1)
    is_rare = counts < MIN_PRESENCE * counts.sum()
    reliable = known & ~is_rare[by_pixel]
    for color in np.flatnonzero((counts > 0) & ~is_rare):
        patch = (reliable & (by_pixel == color)).astype(np.uint8)
        _, parts, stats, _ = cv2.connectedComponentsWithStats(patch, connectivity=4)
        reliable &= ~((stats[:, cv2.CC_STAT_AREA] < MIN_PATCH * image_pixels)[parts] & (patch == 1))
    if not reliable.any():
        return np.full_like(by_pixel, counts.argmax())
    return fill_from_nearest(by_pixel, reliable)


def _group_by_color(scores: ColorProbabilities, indices: np.ndarray) -> Segmentation:
    """Returns a segmentation with one region per colour, whether or not it is connected."""
    probabilities = _mean_probabilities(scores, indices, np.ones(indices.shape))
    probabilities = np.pad(probabilities, ((0, len(scores.colors) - len(probabilities)), (0, 0)))
    return Segmentation(indices, np.arange(len(scores.colors)), probabilities, scores.colors)
