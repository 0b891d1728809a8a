"""The network's scores in, a colour for each pixel out: by the likeliest, by the mean, or by vote.

What is compared is smooth by itself: a posterized picture is looked at as areas, and a pixel that differs
from all around it is a mistake whatever colour it has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from linewash.coloring.ink import page_side
from linewash.coloring.segmentation import nearest, renumber, segment
from tfrecords_schema import Palette
from training.metrics.color_spaces import to_oklab

Decode = Literal["vote", "argmax", "mean"]
MOST_COLORS = 64  # of a larger palette only the likeliest are considered, for the sake of memory
# Zhang et al. 2016, "Colorful image colorization", section 2.3: between the mode (0) and the mean (1).
ANNEALING = 0.38
REACH = 0.09  # how far a pixel's neighbours help to decide, as a share of the picture's side
GAP = 0.025  # ends of lines closer than this share of the side are taken to meet
WHOLE = 0.6  # an area of which this share agrees is of one colour
OPEN = 0.12  # an area of up to this share of the page is of one colour in any case ...
ENCLOSED = 0.3  # ... and up to this if lines enclose it: what runs off the page may be sky and meadow in one
SPECK = 0.004  # within a larger one, patches below this share of the page vanish
PRESENT = 0.08  # and so do colours of less than this share of the area
SPILL = 0.2  # a hint stroke of which less than this share lies on an area does not mean it ...
MEANT = 0.02  # ... unless it covers this share of the area
DIFFERENT = 0.02  # share of the page in which two variants differ at least
ATTEMPTS = 40


@dataclass(frozen=True)
class ColorProbabilities:
    """What a network says of a drawing, at the network's size, of the colours that come into question.

    probabilities: float32 [h, w, C], summing to 1; colors: the palette index of each of the C.
    """

    probabilities: np.ndarray
    colors: np.ndarray

    @classmethod
    def of(cls, logits: np.ndarray, hints: np.ndarray | None = None) -> ColorProbabilities:
        """Softmax of logits [h, w, K]; where a hint is (label + 1, [h, w]) it is believed."""
        powers = np.exp(logits - logits.max(-1, keepdims=True))
        probabilities = powers / powers.sum(-1, keepdims=True)
        if hints is not None:
            hinted = hints > 0
            probabilities[hinted] = np.eye(logits.shape[-1], dtype=np.float32)[hints[hinted] - 1]
        colors = np.arange(logits.shape[-1])
        if len(colors) > MOST_COLORS:
            colors = np.sort(np.argsort(-probabilities.mean((0, 1)), kind="stable")[:MOST_COLORS])
            probabilities = probabilities[..., colors] + 1e-9
            probabilities /= probabilities.sum(-1, keepdims=True)
        return cls(probabilities.astype(np.float32), colors)

    def enlarged(self, height: int, width: int) -> Iterator[np.ndarray]:
        """Yields each colour's probability at another size, float32 [height, width]: one, not all at once."""
        for index in range(len(self.colors)):
            yield cv2.resize(
                np.ascontiguousarray(self.probabilities[..., index]), (width, height),
                interpolation=cv2.INTER_LINEAR,
            )  # fmt: skip

    def likeliest(self, height: int, width: int) -> np.ndarray:
        """Which of the C is likeliest at each pixel of another size: int32 [height, width]."""
        best, found = np.zeros((height, width), np.float32), np.zeros((height, width), np.int32)
        for index, probability in enumerate(self.enlarged(height, width)):
            found[probability > best] = index
            np.maximum(best, probability, out=best)
        return found


@dataclass(frozen=True)
class Segmentation:
    """A decoded picture and how sure it is, area by area.

    areas: int32 [H, W], the number of each pixel's area; chosen: int [A], what each is painted with;
    shares: float [A, C], how likely each colour is there; colors: the palette index of each of the C.
    """

    areas: np.ndarray
    chosen: np.ndarray
    shares: np.ndarray
    colors: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """Palette indices, uint16 [H, W]."""
        return self.colors[self.chosen].astype(np.uint16)[self.areas]

    def variants(self, count: int, seed: int, temperature: float = 1.0) -> list[np.ndarray]:
        """The painting itself and other likely ones, each unlike those before: `count` of labels [H, W].

        Colours are drawn by their probabilities, sharpened (below 1) or flattened (above) by the
        temperature. One draw decides for all areas that were of one colour, so a sky stays one sky behind
        a tree's branches. A network that is very sure is asked at rising temperatures; one for which there
        is but one answer gives fewer.
        """
        rng = np.random.default_rng(seed)
        found = [self.labels]
        for _ in range(ATTEMPTS * (count - 1)):
            if len(found) == count:
                break
            labels = self.colors[self._sampled(rng, temperature)].astype(np.uint16)[self.areas]
            if all(np.mean(labels != other) >= DIFFERENT for other in found):
                found.append(labels)
            else:
                temperature *= 1.05
        return found

    def _sampled(self, rng: np.random.Generator, temperature: float) -> np.ndarray:
        """Another choice for each area, int [A]: the Gumbel-max trick, one noise for each present choice."""
        noise = rng.gumbel(size=(len(self.colors), len(self.colors)))
        scores = np.log(self.shares + 1e-6) / temperature + noise[self.chosen]
        return scores.argmax(1)


def by_argmax(field: ColorProbabilities, height: int, width: int) -> Segmentation:
    """The likeliest colour of each pixel; probabilities are enlarged, not labels, so borders are smooth."""
    return _by_color(field, field.likeliest(height, width))


def by_mean(
    field: ColorProbabilities, palette: Palette, height: int, width: int, temperature: float = ANNEALING
) -> Segmentation:
    """The palette colour nearest to the annealed mean in OKLab (Zhang et al. 2016, equation 5)."""
    table = to_oklab(palette.rgb[field.colors])
    # In logarithms and below 0, or a low temperature would leave nothing to divide by.
    scores = np.log(field.probabilities + 1e-9)
    powers = np.exp((scores - scores.max(-1, keepdims=True)) / temperature)
    mean = (powers / powers.sum(-1, keepdims=True)) @ table
    mean = cv2.resize(mean.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    best, found = np.full((height, width), np.inf, np.float32), np.zeros((height, width), np.int32)
    for index, color in enumerate(table.astype(np.float32)):
        distance = ((mean - color) ** 2).sum(-1)
        found[distance < best] = index
        np.minimum(best, distance, out=best)
    return _by_color(field, found)


def by_vote(field: ColorProbabilities, lines: np.ndarray, small_lines: np.ndarray) -> Segmentation:
    """Areas between lines vote on one colour; those that are of two minds are split where the minds part.

    Args:
      lines: uint8 [H, W] in {0, 1}, thin: where areas end. small_lines: the same at the field's size.
    """
    height, width = lines.shape
    smooth = ColorProbabilities(
        diffuse(field.probabilities, small_lines, REACH * page_side(small_lines.shape)), field.colors
    )
    areas = segment(lines, GAP * page_side(lines.shape))
    # Beside a line the network speaks of the line, or of the other side.
    scale = max(lines.shape) / max(small_lines.shape)
    away = cv2.distanceTransform(1 - lines, cv2.DIST_L2, 5) > scale
    weights = np.where(away, 1.0, 0.02)
    shares = _shares(smooth, areas, weights)
    chosen = shares.argmax(1)
    single = smooth.likeliest(height, width)
    sizes = np.bincount(areas.ravel())
    agree = np.bincount(areas.ravel(), (single == chosen[areas]).ravel()) / sizes
    most = np.full(len(sizes), ENCLOSED * areas.size)
    most[np.concatenate([areas[0], areas[-1], areas[:, 0], areas[:, -1]])] = OPEN * areas.size
    torn = (agree < WHOLE) & (sizes > most)
    if not torn.any():
        return Segmentation(areas, chosen, shares, field.colors)
    for area in np.flatnonzero(torn):
        inside = areas == area
        patches = _patches(single, inside, inside & away, areas.size)
        areas = np.where(inside, areas.max() + 1 + patches, areas)
    numbers, areas = renumber(areas)
    shares = _shares(smooth, areas, weights)
    choice = shares.argmax(1)
    # A patch keeps the colour for which it was cut out.
    for index in np.flatnonzero(numbers >= len(chosen)):
        choice[index] = np.bincount(single[(areas == index) & away], minlength=len(field.colors)).argmax()
    return Segmentation(areas, choice, shares, field.colors)


def with_hints(painting: Segmentation, hints: np.ndarray) -> Segmentation:
    """Gives areas the colour of the strokes on them, int [H, W], label + 1 or 0 for none.

    An area with strokes of several colours is parted between them, each pixel to the nearest.
    """
    meant = _without_spills(painting.areas, hints)
    areas, chosen = painting.areas.copy(), list(painting.chosen)
    index = np.full(int(max(painting.colors.max(), hints.max())) + 2, -1)
    index[painting.colors + 1] = np.arange(len(painting.colors))
    for area in np.unique(areas[meant > 0]):
        inside = painting.areas == area
        here = np.where(inside & (index[meant] >= 0), meant, 0)
        parted = nearest(here, here > 0)
        for label in np.unique(here[here > 0]):
            areas[inside & (parted == label)] = len(chosen)
            chosen.append(index[label])
    certain = np.eye(len(painting.colors))[chosen[len(painting.chosen) :]]
    return Segmentation(areas, np.array(chosen), np.concatenate([painting.shares, certain]), painting.colors)


def _without_spills(areas: np.ndarray, hints: np.ndarray) -> np.ndarray:
    """Hints without what a stroke has of an area that it only brushes: over a line, by a hair."""
    meant = hints.copy()
    sizes = np.bincount(areas.ravel())
    for label in np.unique(hints[hints > 0]):
        count, parts = cv2.connectedComponents((hints == label).astype(np.uint8), connectivity=8)
        for part in range(1, count):
            stroke = parts == part
            touched = np.bincount(areas[stroke], minlength=len(sizes))
            brushed = (touched < SPILL * stroke.sum()) & (touched < MEANT * sizes)
            meant[stroke & brushed[areas]] = 0
    return meant


def diffuse(values: np.ndarray, lines: np.ndarray, reach: float, rounds: int = 3) -> np.ndarray:
    """Lets values, float32 [h, w, C], flow `reach` pixels far, but over no line, uint8 [h, w] in {0, 1}.

    Gastal and Oliveira 2011, "Domain transform for edge-aware image and video processing", the recursive
    filter of section 5, with lines in place of edges.
    """
    blocked = lines.astype(bool)
    for number in range(rounds):
        sigma = reach * np.sqrt(3) * 2 ** (rounds - number - 1) / np.sqrt(4**rounds - 1)
        share = float(np.exp(-np.sqrt(2) / max(sigma, 1e-3)))
        values = _sweep(values, blocked, share)
        values = _sweep(values.transpose(1, 0, 2), blocked.T, share).transpose(1, 0, 2)
    return np.ascontiguousarray(values)


def _sweep(values: np.ndarray, blocked: np.ndarray, share: float) -> np.ndarray:
    """There and back down the first axis; nothing passes from, to or over a blocked pixel."""
    values = np.ascontiguousarray(values)
    passes = np.where(blocked[1:] | blocked[:-1], 0.0, share).astype(np.float32)[..., None]
    for row in range(1, len(values)):
        values[row] += passes[row - 1] * (values[row - 1] - values[row])
    for row in range(len(values) - 2, -1, -1):
        values[row] += passes[row] * (values[row + 1] - values[row])
    return values


def _shares(field: ColorProbabilities, areas: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean probability of each colour in each area: float64 [A, C]."""
    flat, count = areas.ravel(), int(areas.max()) + 1
    total = np.bincount(flat, weights.ravel(), count)
    sums = [np.bincount(flat, (p * weights).ravel(), count) for p in field.enlarged(*areas.shape)]
    return np.stack(sums, 1) / np.maximum(total, 1e-12)[:, None]


def _patches(single: np.ndarray, inside: np.ndarray, known: np.ndarray, page: int) -> np.ndarray:
    """Splits one area by the colours that its pixels have, without specks and fringes along lines.

    Args:
      single: int32 [H, W], what each pixel says. inside: the area. known: those of its pixels that count.
      page: pixels of the whole page.

    Returns:
      int32 [H, W], the colour of each pixel of the area.
    """
    counts = np.bincount(single[known], minlength=int(single.max()) + 1)
    rare = counts < PRESENT * counts.sum()
    kept = known & ~rare[single]
    for color in np.flatnonzero((counts > 0) & ~rare):
        patch = (kept & (single == color)).astype(np.uint8)
        _, parts, stats, _ = cv2.connectedComponentsWithStats(patch, connectivity=4)
        kept &= ~((stats[:, cv2.CC_STAT_AREA] < SPECK * page)[parts] & (patch == 1))
    if not kept.any():
        return np.full_like(single, counts.argmax())
    return nearest(single, kept)


def _by_color(field: ColorProbabilities, found: np.ndarray) -> Segmentation:
    """A painting whose areas are its colours, wherever they lie."""
    shares = _shares(field, found, np.ones(found.shape))
    shares = np.pad(shares, ((0, len(field.colors) - len(shares)), (0, 0)))
    return Segmentation(found, np.arange(len(field.colors)), shares, field.colors)
