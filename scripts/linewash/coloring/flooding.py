"""Closes the gaps of outlines along their strokes, and floods a drawing from hints over its lines and gaps.

A drawing is seen as terrain: paper lies low, a gap rises the narrower it is, and lines are ridges. Water that
wells up at several sources at once meets at the ridges between them (a seeded watershed, which is a minimum
spanning forest: Cousty et al. 2009, "Watershed cuts").
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from skimage.segmentation import watershed

from preprocess.lines.stroke_detection import reference_side
from preprocess.lines.thinning import find_ends

# Lengths are fractions of the reference side.
TANGENT = 0.02  # length of the piece of a stroke that gives the direction of its end
MAX_POINTING_GAP = 0.2  # two ends that point at each other are joined over at most this distance
MIN_POINTING = 0.75  # mean cosine between their directions and the gap
MAX_JUNCTION_GAP = 0.04  # an end is extended to a line or to the border over at most this distance
MAX_CHORD = 0.6  # the ends of an open outline are joined over at most this distance ...
MIN_ENCLOSED = 0.2  # ... if the chord cuts off at least this fraction of its square (a half disc has 0.39)
MAX_CHORD_TESTS = 48  # each takes milliseconds; the shortest chords are tested first
MAX_ENDS = 400  # a drawing of more stroke ends is hatched: chords would only join its hatching

WIDEST_GAP = 0.25  # distance to the nearest line from which the terrain is flat
LEVEL_RATIO = 1.6  # ratio of the widths of two gaps that differ in height by one level
BARRIER = 40  # height of a joined gap; the levels of open gaps stay below
RIDGE = 60  # height of the rim of a line


@dataclass(frozen=True)
class StrokeEnd:
    """The end of a stroke: its pixel and the unit vector in which the stroke would continue, both (y, x)."""

    y: int
    x: int
    dy: float
    dx: float


def find_stroke_ends(lines: np.ndarray) -> list[StrokeEnd]:
    """Returns the ends of the strokes of uint8 [H, W] in {0, 1}, one pixel wide, in the order of the rows."""
    ys, xs = np.nonzero(find_ends(lines))
    height, width = lines.shape
    length = max(4, round(TANGENT * reference_side(lines.shape)))
    ends = []
    for y, x in zip(ys.tolist(), xs.tolist(), strict=True):
        path = [(y, x)]
        visited = {(y, x)}
        while len(path) <= length:
            py, px = path[-1]
            steps = [
                (qy, qx)
                for qy in range(max(py - 1, 0), min(py + 2, height))
                for qx in range(max(px - 1, 0), min(px + 2, width))
                if lines[qy, qx] and (qy, qx) not in visited
            ]
            if not steps or len(steps) > 2:
                break
            visited.update(steps)
            # Of two neighbours that touch each other the nearer one is next.
            path.append(min(steps, key=lambda step: (abs(step[0] - py) + abs(step[1] - px), step)))
        dy, dx = y - path[-1][0], x - path[-1][1]
        norm = math.hypot(dy, dx)
        if norm:
            ends.append(StrokeEnd(y, x, dy / norm, dx / norm))
    return ends


def close_gaps(lines: np.ndarray) -> np.ndarray:
    """Joins the ends of strokes where a person sees a closed outline.

    Two ends are joined if they point at each other. An end is extended to a line or to the border of the
    image if it points at it from nearby. The ends of an open outline are joined by a chord if that encloses
    a figure. A chord between two ends separates something only if they belong to connected lines.

    Args:
      lines: uint8 [H, W] in {0, 1}, one pixel wide.

    Returns:
      uint8 [H, W] in {0, 1}, the pixels of the joints, without those of the lines.
    """
    ends = find_stroke_ends(lines)
    if not ends or len(ends) > MAX_ENDS:
        return np.zeros_like(lines)
    side = reference_side(lines.shape)
    blocked = lines.copy()
    pairs = _pairs(ends, side)
    is_joined = [False] * len(ends)
    for _, is_pointing, first, second in pairs:
        if is_pointing and not (is_joined[first] or is_joined[second]):
            pixels = _segment_pixels(lines.shape, ends[first], ends[second].y, ends[second].x)
            if not _is_blocked(blocked, pixels):
                is_joined[first] = is_joined[second] = True
                blocked[pixels] = 1
    for index, end in enumerate(ends):
        if not is_joined[index] and (junction := _junction(blocked, end, MAX_JUNCTION_GAP * side)):
            is_joined[index] = True
            blocked[junction] = 1
    _, component = cv2.connectedComponents(blocked, connectivity=8)
    free_ends = [index for index in range(len(ends)) if not is_joined[index]]
    chords = dict.fromkeys(free_ends, 0)
    num_tests = 0
    for _, _, first, second in pairs:
        a, b = ends[first], ends[second]
        if (
            chords.get(first, 2) > 1
            or chords.get(second, 2) > 1
            or component[a.y, a.x] != component[b.y, b.x]
        ):
            continue
        pixels = _segment_pixels(lines.shape, a, b.y, b.x)
        if num_tests < MAX_CHORD_TESTS and not _is_blocked(blocked, pixels):
            num_tests += 1
            if _encloses_figure(blocked, pixels):
                chords[first], chords[second] = chords[first] + 1, chords[second] + 1
                blocked[pixels] = 1
    return blocked - lines


def _pairs(ends: list[StrokeEnd], side: float) -> list[tuple[float, bool, int, int]]:
    """Returns the pairs of ends that may be joined, the best first: (cost, is pointing, index, index)."""
    y, x, dy, dx = (np.array([getattr(end, name) for end in ends], float) for name in ("y", "x", "dy", "dx"))
    gap_y, gap_x = y[None] - y[:, None], x[None] - x[:, None]
    distance = np.hypot(gap_y, gap_x)
    cosine = (gap_y * dy[:, None] + gap_x * dx[:, None]) / np.maximum(distance, 1)
    pointing = (cosine + cosine.T) / 2
    is_pointing = (pointing >= MIN_POINTING) & (distance <= MAX_POINTING_GAP * side)
    first, second = np.nonzero(np.triu((distance <= MAX_CHORD * side) & (distance > 1.5), 1))
    cost = distance[first, second] / side * (2 - pointing[first, second])
    columns = (cost, is_pointing[first, second], first, second)
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


def _encloses_figure(blocked: np.ndarray, chord: tuple[np.ndarray, np.ndarray]) -> bool:
    """Returns whether a chord cuts off an area that is large beside the square over the chord."""
    rows, columns = chord
    with_chord = blocked.copy()
    with_chord[chord] = 1
    _, parts, stats, _ = cv2.connectedComponentsWithStats(1 - with_chord, connectivity=4)
    middle = len(rows) // 2
    window = (
        slice(max(rows[middle] - 2, 0), rows[middle] + 3),
        slice(max(columns[middle] - 2, 0), columns[middle] + 3),
    )
    sides = np.setdiff1d(parts[window], [0])
    length = math.hypot(rows[-1] - rows[0], columns[-1] - columns[0])
    return len(sides) > 1 and stats[sides, cv2.CC_STAT_AREA].min() >= MIN_ENCLOSED * length**2


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


def _junction(blocked: np.ndarray, end: StrokeEnd, max_gap: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns the pixels from an end to the line or border at which it points, or None if none is near."""
    height, width = blocked.shape
    for step in range(3, int(max_gap) + 2):
        y, x = round(end.y + step * end.dy), round(end.x + step * end.dx)
        if not (0 <= y < height and 0 <= x < width):
            return _segment_pixels(blocked.shape, end, y, x)
        top, left = max(y - 1, 0), max(x - 1, 0)
        hits = np.argwhere(blocked[top : y + 2, left : x + 2])
        if len(hits) and step > 3:
            return _segment_pixels(blocked.shape, end, top + hits[0, 0], left + hits[0, 1])
    return None


def terrain(lines: np.ndarray, strokes: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """Returns the height of each pixel: int32 [H, W].

    On paper it rises by one level when the distance to the nearest line shrinks by `LEVEL_RATIO`. Joined gaps
    are higher than any open one, and lines are higher still and highest in their middle.

    Args:
      lines, strokes, joints: uint8 [H, W] in {0, 1}: thin lines, all that strokes cover, and `close_gaps`.
    """
    ink = np.maximum(lines, strokes)
    widest = WIDEST_GAP * reference_side(lines.shape)
    distance = np.clip(cv2.distanceTransform(1 - ink, cv2.DIST_L2, 5), 0.5, widest)
    height = np.floor(np.log(widest / distance) / math.log(LEVEL_RATIO)).astype(np.int32)
    height[joints == 1] = BARRIER
    depth = cv2.distanceTransform(ink, cv2.DIST_L2, 5)
    return np.where(ink == 1, RIDGE + np.minimum(depth, 1000).astype(np.int32) * 2 + lines, height)


def flood(height: np.ndarray, sources: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Floods the terrain from its sources.

    Args:
      height: int32 [H, W].
      sources: int32 [H, W], the number of each source, or 0.
      mask: bool [H, W], where water may flow; None for everywhere.

    Returns:
      int32 [H, W], the number of the source that reaches each pixel first; 0 where none does.
    """
    return watershed(height, sources, mask=mask).astype(np.int32)
