"""Closes the gaps of outlines along their strokes.

Three kinds of joints are added to the lines of a drawing: between two ends that point at each other, from an
end to the line at which it points, and chords that close the open outline of a figure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from preprocess.lines.stroke_detection import reference_side
from preprocess.lines.thinning import find_ends

# Lengths are fractions of the reference side.
TANGENT = 0.02  # length of the piece of a stroke that gives the direction of its end
MAX_JUNCTION_GAP = 0.04  # an end is extended to a line or to the border over at most this distance ...
MIN_BORDER_SUPPORT = 4  # ... but to the border only if the stroke is this many times as long
MAX_POINTING_GAP = 0.2  # two ends that point at each other are joined over at most this distance ...
MIN_POINTING = 0.75  # ... if the mean cosine between their directions and the gap is at least this
MAX_CHORD = 0.6  # the ends of an open outline are joined over at most this distance ...
MIN_ENCLOSED = 0.2  # ... if the chord cuts off at least this fraction of its square (a half disc has 0.39)
MIN_SUPPORT = 1  # a longer gap than MAX_JUNCTION_GAP needs strokes that are this many times as long ...
LONG_STROKE = 0.1  # ... or of this length
MIN_GROUND = 0.5  # fraction of the image; so large an area is ground, although a frame encloses it
MAX_SPIKE_RATIO = 2.5  # an end with chords on both sides is a spike if they differ by at most this factor ...
MAX_DEPTH_RATIO = 4  # ... and cut off pieces whose areas over the chords' squares differ by at most this
MIN_STRAIGHTNESS = 0.99  # cosine of the angle between the chords on both sides of a straight cut
MAX_CUT_COSINE = 0.35  # a straight cut meets the strokes at almost a right angle
MAX_REGULAR_RATIO = 1.5  # ends at distances that differ by at most this factor are teeth, not a cut
MAX_CHORD_TESTS = 48  # each takes milliseconds; the shortest chords are tested first
MAX_ENDS = 400  # a drawing of more stroke ends is hatched: chords would only join its hatching

Pixels = tuple[np.ndarray, np.ndarray]  # rows and columns


@dataclass(frozen=True)
class StrokeEnd:
    """The end of a stroke.

    y, x: its pixel.
    dy, dx: the unit vector in which the stroke would continue.
    length: px of the stroke up to its other end or a junction, as far as it was followed.
    """

    y: int
    x: int
    dy: float
    dx: float
    length: int


class Pair(NamedTuple):
    """Two ends that may be joined.

    cost: the distance, larger if they do not point at each other.
    is_pointing: whether they do, and are near enough.
    is_open: whether their strokes are long enough for an outline that is open between them.
    first, second: the indices of the ends.
    """

    cost: float
    is_pointing: bool
    is_open: bool
    first: int
    second: int


class Piece(NamedTuple):
    """What a chord cuts off: its pixels, and the indices of the ends that touch it."""

    area: int
    touched: frozenset[int]


@dataclass(frozen=True)
class Chord:
    """A straight joint between two ends, which cuts off a piece of the ground.

    ends: the indices of both.
    length: px.
    depth: the area of the piece over the square of the length.
    pixels: with both ends.
    direction: the unit vector from the first end to the second, (y, x).
    cosines: of the angles between the directions of both ends and the chord.
    sides: +1 or -1 for each end: on which side of its stroke, seen along its direction, the chord lies.
    touched: the indices of all ends that touch the piece.
    is_open: as in `Pair`.
    """

    ends: tuple[int, int]
    length: float
    depth: float
    pixels: Pixels
    direction: tuple[float, float]
    cosines: tuple[float, float]
    sides: tuple[int, int]
    touched: frozenset[int]
    is_open: bool


def find_stroke_ends(lines: np.ndarray) -> list[StrokeEnd]:
    """Returns the ends of the strokes of uint8 [H, W] in {0, 1}, one pixel wide, in the order of the rows.

    A drawing of more than `MAX_ENDS` ends is hatched: the result is then empty.
    """
    ys, xs = np.nonzero(find_ends(lines))
    if len(ys) > MAX_ENDS:
        return []
    side = reference_side(lines.shape)
    tangent, longest = max(4, round(TANGENT * side)), math.ceil(LONG_STROKE * side)
    ends = []
    for y, x in zip(ys.tolist(), xs.tolist(), strict=True):
        path = _follow_stroke(lines, y, x, longest)
        start = path[min(tangent, len(path) - 1)]
        dy, dx = y - start[0], x - start[1]
        norm = math.hypot(dy, dx)
        if norm:
            ends.append(StrokeEnd(y, x, dy / norm, dx / norm, len(path)))
    return ends


def _follow_stroke(lines: np.ndarray, y: int, x: int, longest: int) -> list[tuple[int, int]]:
    """Returns the pixels of a stroke from its end, at most up to a junction, its other end or `longest`."""
    height, width = lines.shape
    path = [(y, x)]
    visited = {(y, x)}
    while len(path) <= longest:
        py, px = path[-1]
        steps = [
            (qy, qx)
            for qy in range(max(py - 1, 0), min(py + 2, height))
            for qx in range(max(px - 1, 0), min(px + 2, width))
            if lines[qy, qx] and (qy, qx) not in visited
        ]
        if not steps or max(_gap(step, other) for step in steps for other in steps) > 1:
            break  # at a junction, two neighbours do not touch each other
        visited.update(steps)
        # Of two neighbours that touch each other the nearer one is next.
        path.append(min(steps, key=lambda step: (abs(step[0] - py) + abs(step[1] - px), step)))
    return path


def _gap(first: tuple[int, int], second: tuple[int, int]) -> int:
    """Returns the larger of the differences in y and x between two pixels."""
    return max(abs(first[0] - second[0]), abs(first[1] - second[1]))


def close_gaps(lines: np.ndarray) -> np.ndarray:
    """Joins the ends of strokes where a person sees a closed outline.

    Two ends are joined if they point at each other. An end is extended to a line or to the border of the
    image if it points at it from nearby. The ends of an open outline are joined by a chord (see
    `_choose_chords`).

    Args:
      lines: uint8 [H, W] in {0, 1}, one pixel wide.

    Returns:
      uint8 [H, W] in {0, 1}, the pixels of the joints, without those of the lines.
    """
    ends = find_stroke_ends(lines)
    if not ends:
        return np.zeros_like(lines)
    side = reference_side(lines.shape)
    blocked = lines.copy()
    pairs = _pairs(ends, side)
    joined: set[int] = set()
    for _, is_pointing, _, first, second in pairs:
        if is_pointing and not joined & {first, second}:
            pixels = _segment_pixels(lines.shape, ends[first], ends[second].y, ends[second].x)
            is_long = len(pixels[0]) > MAX_JUNCTION_GAP * side
            if not _is_blocked(blocked, pixels) and not (is_long and _tears_figure(blocked, pixels)):
                joined |= {first, second}
                blocked[pixels] = 1
    for index, end in enumerate(ends):
        if index not in joined and (junction := _junction(blocked, end, side)):
            joined.add(index)
            blocked[junction] = 1
    _, component = cv2.connectedComponents(blocked, connectivity=8)
    numbers = [component[end.y, end.x] for end in ends]
    pairs = [
        pair for pair in pairs
        if not joined & {pair.first, pair.second} and numbers[pair.first] == numbers[pair.second]
    ]  # fmt: skip
    directions: dict[int, tuple[float, float]] = {}
    for chord in _choose_chords(_find_chords(blocked, ends, pairs)):
        if (
            _is_free(chord, directions)
            and not _is_blocked(blocked, chord.pixels)
            and not _tears_figure(blocked, chord.pixels)
        ):
            blocked[chord.pixels] = 1
            directions[chord.ends[0]] = chord.direction
            directions[chord.ends[1]] = -chord.direction[0], -chord.direction[1]
    return blocked - lines


def _is_free(chord: Chord, directions: dict[int, tuple[float, float]]) -> bool:
    """Returns whether no end of a chord has a chord already, except for one that it continues straight.

    Args:
      directions: by the index of an end, the unit vector along its chord.
    """
    dy, dx = chord.direction
    return all(
        end not in directions
        or sign * (dy * directions[end][0] + dx * directions[end][1]) <= -MIN_STRAIGHTNESS
        for end, sign in zip(chord.ends, (1, -1), strict=True)
    )


def _pairs(ends: list[StrokeEnd], side: float) -> list[Pair]:
    """Returns the pairs of ends within reach of a chord, the best first."""
    y, x, dy, dx, length = (
        np.array([getattr(end, name) for end in ends], float) for name in ("y", "x", "dy", "dx", "length")
    )
    gap_y, gap_x = y[None] - y[:, None], x[None] - x[:, None]
    distance = np.hypot(gap_y, gap_x)
    shorter_stroke = np.minimum(length[:, None], length[None])
    is_supported = shorter_stroke >= np.minimum(MIN_SUPPORT * distance, LONG_STROKE * side)
    cosine = (gap_y * dy[:, None] + gap_x * dx[:, None]) / np.maximum(distance, 1)
    pointing = (cosine + cosine.T) / 2
    is_near = distance <= MAX_JUNCTION_GAP * side
    is_pointing = (
        (pointing >= MIN_POINTING) & (distance <= MAX_POINTING_GAP * side) & (is_near | is_supported)
    )
    is_open = is_supported & (shorter_stroke >= TANGENT * side)
    first, second = np.nonzero(np.triu((distance <= MAX_CHORD * side) & (distance > 1.5), 1))
    cost = distance / side * (2 - pointing)
    tables = [table[first, second].tolist() for table in (cost, is_pointing, is_open)]
    return [Pair(*row) for row in sorted(zip(*tables, first.tolist(), second.tolist(), strict=True))]


def _find_chords(blocked: np.ndarray, ends: list[StrokeEnd], pairs: list[Pair]) -> list[Chord]:
    """Returns the chords that cut a piece off the ground, which is large beside the square over the chord.

    Lines within a figure, which end inside it, are details: a chord between them would only tear the figure.
    """
    chords: list[Chord] = []
    num_tests = 0
    for _, _, is_open, first, second in pairs:
        a, b = ends[first], ends[second]
        pixels = _segment_pixels(blocked.shape, a, b.y, b.x)
        if _is_blocked(blocked, pixels):
            continue
        num_tests += 1
        if num_tests > MAX_CHORD_TESTS:
            break
        length = math.hypot(b.y - a.y, b.x - a.x)
        piece = _cut_off(blocked, pixels, ends)
        if piece is not None and piece.area >= MIN_ENCLOSED * length**2:
            dy, dx = (b.y - a.y) / length, (b.x - a.x) / length
            turns = a.dx * dy - a.dy * dx, b.dy * dx - b.dx * dy
            chords.append(
                Chord(
                    (first, second),
                    length,
                    piece.area / length**2,
                    pixels,
                    (dy, dx),
                    (a.dy * dy + a.dx * dx, -b.dy * dy - b.dx * dx),
                    (1 if turns[0] > 0 else -1, 1 if turns[1] > 0 else -1),
                    piece.touched,
                    is_open,
                )
            )
    return chords


def _cut_off(blocked: np.ndarray, pixels: Pixels, ends: list[StrokeEnd]) -> Piece | None:
    """Returns the piece that a chord cuts off the ground, or None if it cuts off none."""
    parts, sides, areas, is_ground = _sides(blocked, pixels)
    if len(sides) != 2 or is_ground.sum() != 1:
        return None
    piece = sides[~is_ground][0]
    touched = (i for i, end in enumerate(ends) if (_window(parts, end.y, end.x) == piece).any())
    return Piece(int(areas[~is_ground][0]), frozenset(touched))


def _tears_figure(blocked: np.ndarray, pixels: Pixels) -> bool:
    """Returns whether a joint parts two areas of which neither is ground."""
    _, sides, _, is_ground = _sides(blocked, pixels)
    return len(sides) > 1 and not is_ground.any()


def _sides(blocked: np.ndarray, pixels: Pixels) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Finds the areas on both sides of a joint.

    Returns:
      int32 [H, W], all areas beside lines and the joint; the numbers of those at the middle of the joint,
      int [N]; their pixels, int [N]; and whether they belong to the ground, bool [N]. The ground is what
      holds the border of the image. Within a frame it is the larger side.
    """
    height, width = blocked.shape
    with_joint = blocked.copy()
    with_joint[pixels] = 1
    _, parts, stats, _ = cv2.connectedComponentsWithStats(1 - with_joint, connectivity=4)
    middle_y, middle_x = (axis[len(axis) // 2] for axis in pixels)
    sides = np.setdiff1d(_window(parts, middle_y, middle_x), [0])
    left, top, columns, rows, areas = stats[sides].T
    is_ground = (left == 0) | (top == 0) | (left + columns == width) | (top + rows == height)
    if not is_ground.any() and areas.sum() >= MIN_GROUND * blocked.size:
        is_ground = areas == areas.max()
    return parts, sides, areas, is_ground


def _window(values: np.ndarray, y: int, x: int) -> np.ndarray:
    """Returns the 5 x 5 pixels around a pixel, fewer at the border."""
    return values[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]


def _choose_chords(chords: list[Chord]) -> list[Chord]:
    """Returns the chords that may close a figure, the deepest first.

    The stroke of an open outline has the figure on one side and the ground on the other. The rays of a sun,
    toes, grass, whiskers and the teeth of a comb stand in a row: chords lead from the end of such a spike to
    both sides, and all that they cut off is ground. So no chord may join a spike, nor
    cut off a piece that a spike beside its ends touches.
    """
    nearest: dict[tuple[int, int], Chord] = {}
    in_row: dict[int, set[int]] = {}
    for chord in chords:
        for end, side in zip(chord.ends, chord.sides, strict=True):
            shortest = nearest.setdefault((end, side), chord)
            if chord.length < shortest.length:
                nearest[end, side] = chord
            in_row.setdefault(end, set()).update(chord.ends)
    spikes = {end for end in in_row if _is_spike(end, nearest)} - _ends_on_cuts(nearest)
    chosen = [
        chord
        for chord in chords
        if chord.is_open and not chord.touched & spikes & (in_row[chord.ends[0]] | in_row[chord.ends[1]])
    ]
    return sorted(chosen, key=lambda chord: -chord.depth)


def _is_spike(end: int, nearest: dict[tuple[int, int], Chord]) -> bool:
    """Returns whether the nearest chords on both sides of an end have similar lengths and cut off two pieces.

    Where lines within a figure end near a gap in its outline, both chords cut off the figure.
    """
    if (end, 1) not in nearest or (end, -1) not in nearest:
        return False
    left, right = nearest[end, 1], nearest[end, -1]
    is_nested = bool(left.touched & set(right.ends) - {end} or right.touched & set(left.ends) - {end})
    return not is_nested and max(left.length, right.length) <= MAX_SPIKE_RATIO * min(
        left.length, right.length
    )


def _ends_on_cuts(nearest: dict[tuple[int, int], Chord]) -> set[int]:
    """Returns the ends within a straight cut.

    A portrait or a ship may be cut off straight, as by the border of an image that is not drawn. Its strokes
    end on one line, at almost right angles to it. At equal distances they are teeth.
    """
    links: dict[int, tuple[Chord, Chord]] = {}
    for end, side in nearest:
        if side == 1 and (end, -1) in nearest:
            chords = nearest[end, 1], nearest[end, -1]
            vectors = [np.array(chord.direction) * (1 if chord.ends[0] == end else -1) for chord in chords]
            cosines = [chord.cosines[chord.ends.index(end)] for chord in chords]
            is_straight = vectors[0] @ vectors[1] <= -MIN_STRAIGHTNESS
            if is_straight and max(map(abs, cosines)) <= MAX_CUT_COSINE:
                links[end] = chords
    ends_on_cuts: set[int] = set()
    remaining = set(links)
    while remaining:
        row, frontier, lengths = set(), [min(remaining)], []
        while frontier:
            end = frontier.pop()
            if end in row:
                continue
            row.add(end)
            for chord in links[end]:
                lengths.append(chord.length)
                frontier += [other for other in chord.ends if other in links]
        remaining -= row
        if max(lengths) > MAX_REGULAR_RATIO * min(lengths):
            ends_on_cuts |= row
    return ends_on_cuts


def _segment_pixels(
    shape: tuple[int, ...], end: StrokeEnd, y: float, x: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns rows and columns of the 8-connected segment from a stroke's end to a point, with both."""
    count = int(max(abs(y - end.y), abs(x - end.x))) + 1
    rows = np.clip(np.rint(np.linspace(end.y, y, count)).astype(int), 0, shape[0] - 1)
    columns = np.clip(np.rint(np.linspace(end.x, x, count)).astype(int), 0, shape[1] - 1)
    return rows, columns


def _is_blocked(blocked: np.ndarray, pixels: tuple[np.ndarray, np.ndarray]) -> bool:
    """Returns whether a segment meets a line between its ends, at which it touches lines anyway."""
    rows, columns = pixels
    return bool(blocked[rows[3:-3], columns[3:-3]].any())


def _junction(blocked: np.ndarray, end: StrokeEnd, side: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns the pixels from an end to the line or border at which it points, or None if none is near."""
    height, width = blocked.shape
    for step in range(3, int(MAX_JUNCTION_GAP * side) + 2):
        y, x = round(end.y + step * end.dy), round(end.x + step * end.dx)
        if not (0 <= y < height and 0 <= x < width):
            is_supported = end.length >= min(MIN_BORDER_SUPPORT * step, LONG_STROKE * side)
            return _segment_pixels(blocked.shape, end, y, x) if is_supported else None
        top, left = max(y - 1, 0), max(x - 1, 0)
        hits = np.argwhere(blocked[top : y + 2, left : x + 2])
        if len(hits) and step > 3:
            return _segment_pixels(blocked.shape, end, top + hits[0, 0], left + hits[0, 1])
    return None
