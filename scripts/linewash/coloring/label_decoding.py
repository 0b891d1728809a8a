"""Decodes the network's scores to a label map: by vote, by argmax or by the annealed mean.

A posterized image is seen as regions, so a pixel that differs from all its neighbours is a visible error
whatever its colour. The vote avoids such pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from linewash.coloring.segmentation import fill_from_nearest, renumber, segment
from linewash.coloring.stroke_detection import reference_side
from tfrecords_schema import Palette
from training.metrics.color_spaces import to_oklab

Decode = Literal["vote", "argmax", "mean"]
MAX_COLORS = 64  # of a larger palette only the likeliest colours are considered, to save memory
# Zhang et al. 2016, "Colorful image colorization", section 2.3: between the mode (0) and the mean (1).
ANNEALED_TEMPERATURE = 0.38
DIFFUSION_RADIUS = 0.09  # distance over which neighbours contribute, as a fraction of the reference side
MAX_GAP = 0.025  # line ends closer than this (the same fraction) are connected
MIN_AGREEMENT = 0.6  # a region in which this fraction of the pixels agrees gets one colour
MAX_OPEN_REGION = 0.12  # a region up to this fraction of the image gets one colour in any case ...
MAX_ENCLOSED_REGION = 0.3  # ... or up to this if lines enclose it; an open one may be sky and meadow in one
MIN_PATCH = 0.004  # when a region is split, patches below this fraction of the image are dropped ...
MIN_PRESENCE = 0.08  # ... and so are colours that cover less than this fraction of the region
MIN_STROKE_ON_REGION = 0.2  # a hint stroke with less than this fraction on a region does not colour it ...
MIN_REGION_UNDER_STROKE = 0.02  # ... unless it covers this fraction of the region
MIN_DIFFERENCE = 0.02  # fraction of the pixels in which two variants differ at least
ATTEMPTS_PER_VARIANT = 40


@dataclass(frozen=True)
class ColorProbabilities:
    """The network's probability of each candidate colour at each pixel, at the network's size.

    probabilities: float32 [h, w, C], summing to 1.
    colors: int [C], the palette index of each candidate.
    """

    probabilities: np.ndarray
    colors: np.ndarray

    @classmethod
    def from_logits(cls, logits: np.ndarray, hints: np.ndarray | None = None) -> ColorProbabilities:
        """Applies softmax to logits [h, w, K]; hints, label + 1 or 0, [h, w], get probability 1.

        A colour whose logits are all -inf is no candidate, unless it is hinted.
        """
        is_candidate = np.asarray((logits > -np.inf).any((0, 1)))
        powers = np.exp(logits - logits.max(-1, keepdims=True))
        probabilities = powers / powers.sum(-1, keepdims=True)
        if hints is not None:
            is_hinted = hints > 0
            probabilities[is_hinted] = np.eye(logits.shape[-1], dtype=np.float32)[hints[is_hinted] - 1]
            is_candidate[hints[is_hinted] - 1] = True
        colors = np.flatnonzero(is_candidate)
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
class Segmentation:
    """A decoded image as regions of one colour each, with the probabilities of the alternatives.

    regions: int32 [H, W], the number of each pixel's region.
    choices: int [R], the index in `colors` of each region's colour.
    probabilities: float [R, C], of each candidate colour in each region.
    colors: int [C], the palette index of each candidate.
    """

    regions: np.ndarray
    choices: np.ndarray
    probabilities: np.ndarray
    colors: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """Palette indices, uint16 [H, W]."""
        return self.colors[self.choices].astype(np.uint16)[self.regions]

    def variants(self, count: int, seed: int, temperature: float = 1.0) -> list[np.ndarray]:
        """Returns up to `count` different label maps, uint16 [H, W], the first being `labels`.

        Colours are sampled from their probabilities, sharpened (below 1) or flattened (above 1) by the
        temperature. All regions of one colour are sampled together, so that the parts of a sky behind the
        branches of a tree stay one sky. The temperature rises until the samples differ; fewer maps are
        returned if they never do.
        """
        rng = np.random.default_rng(seed)
        label_maps = [self.labels]
        for _ in range(ATTEMPTS_PER_VARIANT * (count - 1)):
            if len(label_maps) == count:
                break
            labels = self.colors[self._sample(rng, temperature)].astype(np.uint16)[self.regions]
            if all(np.mean(labels != other) >= MIN_DIFFERENCE for other in label_maps):
                label_maps.append(labels)
            else:
                temperature *= 1.05
        return label_maps

    def _sample(self, rng: np.random.Generator, temperature: float) -> np.ndarray:
        """Samples a choice for each region, int [R], by the Gumbel-max trick.

        Regions of one colour share the noise.
        """
        noise = rng.gumbel(size=(len(self.colors), len(self.colors)))
        scores = np.log(self.probabilities + 1e-6) / temperature + noise[self.choices]
        return scores.argmax(1)


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


def decode_by_vote(scores: ColorProbabilities, lines: np.ndarray, small_lines: np.ndarray) -> Segmentation:
    """Lets the pixels of each region between lines vote on its colour.

    A large region whose pixels disagree is split where their colours change.

    Args:
      lines: uint8 [H, W] in {0, 1}, thin: the borders of the regions.
      small_lines: the same lines at the size of `scores`.
    """
    height, width = lines.shape
    radius = DIFFUSION_RADIUS * reference_side(small_lines.shape)
    smoothed = ColorProbabilities(diffuse(scores.probabilities, small_lines, radius), scores.colors)
    regions = segment(lines, MAX_GAP * reference_side(lines.shape))
    # Beside a line the scores may belong to the line itself or to its other side.
    scale = max(lines.shape) / max(small_lines.shape)
    is_off_lines = cv2.distanceTransform(1 - lines, cv2.DIST_L2, 5) > scale
    weights = np.where(is_off_lines, 1.0, 0.02)
    probabilities = _mean_probabilities(smoothed, regions, weights)
    choices = probabilities.argmax(1)
    by_pixel = smoothed.argmax(height, width)
    sizes = np.bincount(regions.ravel())
    agreement = np.bincount(regions.ravel(), (by_pixel == choices[regions]).ravel()) / sizes
    max_sizes = np.full(len(sizes), MAX_ENCLOSED_REGION * regions.size)
    border = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    max_sizes[border] = MAX_OPEN_REGION * regions.size
    is_split = (agreement < MIN_AGREEMENT) & (sizes > max_sizes)
    if not is_split.any():
        return Segmentation(regions, choices, probabilities, scores.colors)
    for region in np.flatnonzero(is_split):
        inside = regions == region
        patches = _split_region(by_pixel, inside & is_off_lines, regions.size)
        regions = np.where(inside, regions.max() + 1 + patches, regions)
    numbers, regions = renumber(regions)
    probabilities = _mean_probabilities(smoothed, regions, weights)
    new_choices = probabilities.argmax(1)
    # A patch keeps the colour by which it was split off.
    for index in np.flatnonzero(numbers >= len(choices)):
        counts = np.bincount(by_pixel[(regions == index) & is_off_lines], minlength=len(scores.colors))
        new_choices[index] = counts.argmax()
    return Segmentation(regions, new_choices, probabilities, scores.colors)


def apply_hints(segmentation: Segmentation, hints: np.ndarray) -> Segmentation:
    """Gives regions the colours of the hint strokes on them.

    A region with strokes of several colours is split: each pixel gets the colour of the nearest stroke.

    Args:
      hints: int [H, W], label + 1 or 0 for none.
    """
    strokes = _remove_spills(segmentation.regions, hints)
    regions, choices = segmentation.regions.copy(), list(segmentation.choices)
    color_index = np.full(int(max(segmentation.colors.max(), hints.max())) + 2, -1)
    color_index[segmentation.colors + 1] = np.arange(len(segmentation.colors))
    for region in np.unique(regions[strokes > 0]):
        inside = segmentation.regions == region
        strokes_inside = np.where(inside & (color_index[strokes] >= 0), strokes, 0)
        nearest_stroke = fill_from_nearest(strokes_inside, strokes_inside > 0)
        for label in np.unique(strokes_inside[strokes_inside > 0]):
            regions[inside & (nearest_stroke == label)] = len(choices)
            choices.append(color_index[label])
    certain = np.eye(len(segmentation.colors))[choices[len(segmentation.choices) :]]
    probabilities = np.concatenate([segmentation.probabilities, certain])
    return Segmentation(regions, np.array(choices), probabilities, segmentation.colors)


def _remove_spills(regions: np.ndarray, hints: np.ndarray) -> np.ndarray:
    """Removes the parts of strokes that only slightly overlap a region, for example across a line."""
    strokes = hints.copy()
    sizes = np.bincount(regions.ravel())
    for label in np.unique(hints[hints > 0]):
        count, parts = cv2.connectedComponents((hints == label).astype(np.uint8), connectivity=8)
        for part in range(1, count):
            stroke = parts == part
            overlap = np.bincount(regions[stroke], minlength=len(sizes))
            is_small_part = overlap < MIN_STROKE_ON_REGION * stroke.sum()
            is_spill = is_small_part & (overlap < MIN_REGION_UNDER_STROKE * sizes)
            strokes[stroke & is_spill[regions]] = 0
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
    for row in range(1, len(values)):
        values[row] += weights[row - 1] * (values[row - 1] - values[row])
    for row in range(len(values) - 2, -1, -1):
        values[row] += weights[row] * (values[row + 1] - values[row])
    return values


def _mean_probabilities(scores: ColorProbabilities, regions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns the weighted mean probability of each colour in each region: float64 [R, C]."""
    flat, count = regions.ravel(), int(regions.max()) + 1
    total = np.bincount(flat, weights.ravel(), count)
    sums = [np.bincount(flat, (p * weights).ravel(), count) for p in scores.resized(*regions.shape)]
    return np.stack(sums, 1) / np.maximum(total, 1e-12)[:, None]


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
