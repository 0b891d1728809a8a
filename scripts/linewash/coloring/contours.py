"""Traces the borders of regions as smooth curves; neighbouring regions share each curve exactly.

Borders run along the edges of pixels. They are cut where more than two regions meet. Each piece is smoothed
and fitted with cubic Bézier curves once, and both of its regions use the result, so that no gap opens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

SMOOTHING = 2.0  # px: standard deviation of the blur along a border, which turns pixel stairs into slopes
TOLERANCE = 0.6  # px between a smoothed border and its curves; the stairs of a long slope are 0.5 px from it
FINE_LENGTH = 80  # px: a shorter border is blurred less and fitted more exactly, so that dots do not vanish
REACH = 6  # px along a border over which its direction is measured ...
MIN_CORNER_COSINE = 0.64  # ... and a turn by more than about 50 degrees is a corner

# Directions along the edges of pixels: east, south, west and north, as (row, column).
_STEPS = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)])
# The pixels ahead, on the left and on the right, when a corner is reached in each direction; (0, 0) is the
# pixel before the corner in both axes.
_AHEAD_LEFT = np.array([(0, 1), (1, 1), (1, 0), (0, 0)])
_AHEAD_RIGHT = np.array([(1, 1), (1, 0), (0, 0), (0, 1)])


@dataclass(frozen=True)
class Loop:
    """A closed border of a region.

    region: the number of the region.
    curves: float64 [N, 4, 2], cubic Bézier curves as (x, y) in pixels, each beginning where the one before
      ends. (0, 0) is the upper left corner of the first pixel.
    """

    region: int
    curves: np.ndarray


def trace(regions: np.ndarray) -> Iterator[Loop]:
    """Yields the borders of all regions, sorted by region. A hole has a loop of its own (even-odd rule).

    Args:
      regions: integers [H, W]; pixels of 0 belong to no region.
    """
    edges = _Edges.from_regions(regions)
    fitted: dict[bytes, np.ndarray] = {}
    for cycle in edges.cycles():
        pieces = [_fit_once(points, is_closed, fitted) for points, is_closed in edges.cut(cycle)]
        yield Loop(int(edges.regions[cycle[0]]), np.concatenate(pieces))


@dataclass(frozen=True)
class _Edges:
    """The edges of pixels between two regions, once for each of the two, with the region on the left.

    points: int64 [E, 2], the corner (x, y) at which each edge begins.
    regions: [E], the region on the left.
    followers: int64 [E], the edge that continues the border of that region.
    is_junction: bool [E], whether the corner belongs to more than two regions or to the image's corners.
    """

    points: np.ndarray
    regions: np.ndarray
    followers: np.ndarray
    is_junction: np.ndarray

    @classmethod
    def from_regions(cls, regions: np.ndarray) -> _Edges:
        """Finds all edges. The corner (row, column) is the one above and left of that pixel."""
        padded = np.pad(regions, 1)
        num_columns = regions.shape[1] + 1
        changes_down, changes_right = padded[:-1] != padded[1:], padded[:, :-1] != padded[:, 1:]
        degree = changes_down[:, :-1] + changes_down[:, 1:].astype(np.uint8)
        degree += changes_right[:-1]
        degree += changes_right[1:]
        is_junction = degree > 2
        is_junction[[0, 0, -1, -1], [0, -1, 0, -1]] = True
        row, column = np.nonzero(changes_down[:, 1:-1])
        v_row, v_column = np.nonzero(changes_right[1:-1])
        # In the order of `_STEPS`: the corner at which each edge begins, and the region on its left.
        by_direction = (
            (row, column, padded[row, column + 1]),
            (v_row, v_column, padded[v_row + 1, v_column + 1]),
            (row, column + 1, padded[row + 1, column + 1]),
            (v_row + 1, v_column, padded[v_row + 1, v_column]),
        )
        direction = np.repeat(np.arange(4), [len(rows) for rows, _, _ in by_direction])
        row, column, region = (np.concatenate(parts) for parts in zip(*by_direction, strict=True))
        keys = (row * num_columns + column) * 4 + direction
        order = np.argsort(keys)
        order = order[region[order] != 0]
        row, column, region, direction, keys = (
            values[order] for values in (row, column, region, direction, keys)
        )
        next_row, next_column = row + _STEPS[direction, 0], column + _STEPS[direction, 1]
        left, right = _AHEAD_LEFT[direction], _AHEAD_RIGHT[direction]
        ahead_left = padded[next_row + left[:, 0], next_column + left[:, 1]]
        ahead_right = padded[next_row + right[:, 0], next_column + right[:, 1]]
        turn = np.where(ahead_left != region, -1, np.where(ahead_right != region, 0, 1))
        next_keys = (next_row * num_columns + next_column) * 4 + (direction + turn) % 4
        return cls(
            np.stack([column, row], 1), region, np.searchsorted(keys, next_keys), is_junction[row, column]
        )

    def cycles(self) -> Iterator[np.ndarray]:
        """Yields the indices of the edges of each loop, sorted by region."""
        followers = self.followers.tolist()
        is_used = bytearray(len(followers))
        for first in np.argsort(self.regions, kind="stable").tolist():
            cycle, index = [], first
            while not is_used[index]:
                is_used[index] = 1
                cycle.append(index)
                index = followers[index]
            if cycle:
                yield np.array(cycle)

    def cut(self, cycle: np.ndarray) -> Iterator[tuple[np.ndarray, bool]]:
        """Cuts a loop at junctions and yields the corners of each piece, and whether it is the whole loop."""
        starts = np.flatnonzero(self.is_junction[cycle])
        if not len(starts):
            yield self.points[cycle], True
            return
        points = np.roll(self.points[cycle], -starts[0], axis=0)
        points = np.concatenate([points, points[:1]])
        ends = [*(starts[1:] - starts[0]), len(cycle)]
        for start, end in zip(starts - starts[0], ends, strict=True):
            yield points[start : end + 1], False


def _fit_once(points: np.ndarray, is_closed: bool, fitted: dict[bytes, np.ndarray]) -> np.ndarray:
    """Fits curves to a piece of a border, or takes them from `fitted` if the other region has been traced.

    The two regions meet the piece in opposite directions, and a closed one from different corners, so it is
    fitted in one direction that both agree on.
    """
    if is_closed:
        points = np.roll(points, -np.lexsort((points[:, 0], points[:, 1]))[0], axis=0)
        reverse = np.roll(points[::-1], 1, axis=0)
    else:
        reverse = points[::-1]
    key, reverse_key = points.tobytes(), reverse.tobytes()
    is_reversed = reverse_key < key
    key = min(key, reverse_key)
    if key in fitted:
        curves = fitted.pop(key)
    else:
        curves = fitted[key] = _fit(_smooth(reverse if is_reversed else points, is_closed), is_closed)
    return curves[::-1, ::-1] if is_reversed else curves


def _smooth(points: np.ndarray, is_closed: bool) -> np.ndarray:
    """Blurs a border along its course: float64 [N, 2]. The ends of an open one stay where they are."""
    middles = (points + np.roll(points, -1, axis=0)) / 2
    path = middles if is_closed else np.concatenate([points[:1], middles[:-1], points[-1:]])
    deviation = SMOOTHING * _precision(len(path))
    radius = int(np.ceil(3 * deviation))
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / deviation) ** 2)
    kernel /= kernel.sum()
    if is_closed:
        padded = np.pad(path, ((radius, radius), (0, 0)), "wrap")
    else:  # mirrored at its ends, which therefore do not move
        padded = np.pad(path, ((radius, radius), (0, 0)), "reflect", reflect_type="odd")
    smooth = np.stack([np.convolve(values, kernel, "valid") for values in padded.T], 1)
    if not is_closed:
        smooth[[0, -1]] = path[[0, -1]]  # without rounding errors, which would open the loop
    return smooth


def _fit(path: np.ndarray, is_closed: bool) -> np.ndarray:
    """Fits cubic Bézier curves to a path, float64 [N, 2], within `TOLERANCE`: float64 [M, 4, 2].

    A stretch gets the curve whose ends have the directions of the path. It is divided where it is farthest
    from its curve until it is near.
    """
    if is_closed:
        path = np.concatenate([path, path[:1]])
    tolerance = TOLERANCE * _precision(len(path))
    before, after = _directions(path, is_closed)
    lengths = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
    stretches = [(0, len(path) - 1)]
    if is_closed:  # a curve that ends where it begins would have no direction
        half = len(path) // 2
        stretches = [(half, len(path) - 1), (0, half)]
    curves = []
    while stretches:
        first, last = stretches.pop()
        curve = _curve(path[first], path[last], after[first], before[last], lengths[last] - lengths[first])
        if last - first > 1:
            times = (lengths[first : last + 1] - lengths[first]) / max(lengths[last] - lengths[first], 1e-9)
            errors = np.abs(_points(curve, times) - path[first : last + 1]).max(1)
            farthest = int(errors.argmax())
            if errors[farthest] > tolerance:
                middle = min(max(first + farthest, first + 1), last - 1)
                stretches += [(middle, last), (first, middle)]
                continue
        curves.append(curve)
    return np.array(curves)


def _precision(num_points: int) -> float:
    """Returns the factor of `SMOOTHING` and `TOLERANCE` for a border of this length, 0 to 1."""
    return min(1.0, num_points / FINE_LENGTH)


def _directions(path: np.ndarray, is_closed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Returns the unit directions in which a path reaches and leaves each of its points, both [N, 2].

    They are equal except at corners.
    """
    count = len(path)
    indices = np.arange(count)
    if is_closed:  # the last point is the first
        reach = min(REACH, (count - 1) // 2)
        previous, following = path[(indices - reach) % (count - 1)], path[(indices + reach) % (count - 1)]
    else:
        reach = min(REACH, count - 1)
        previous, following = (
            path[np.maximum(indices - reach, 0)],
            path[np.minimum(indices + reach, count - 1)],
        )
    before, after, through = (_unit(d) for d in (path - previous, following - path, following - previous))
    if not is_closed:
        before[0], after[-1] = after[0], before[-1]
    is_corner = ((before * after).sum(1) < MIN_CORNER_COSINE)[:, None]
    return np.where(is_corner, before, through), np.where(is_corner, after, through)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.hypot(*vectors.T), 1e-9)[:, None]


def _curve(
    start: np.ndarray, end: np.ndarray, leaving: np.ndarray, reaching: np.ndarray, length: float
) -> np.ndarray:
    handle = length / 3
    return np.array([start, start + handle * leaving, end - handle * reaching, end])


def _points(curve: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Returns the points of a cubic Bézier curve at `times`, 0 to 1: float64 [N, 2]."""
    t = times[:, None]
    a, b, c, d = curve
    return (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d
