"""Closed gaps: which open outlines become figures, and which rows of spikes do not."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from linewash.coloring.gap_closing import close_gaps
from linewash.coloring.label_decoding import Areas

from preprocess.lines.drawn import centre_lines

SIDE = 512
Point = tuple[float, float]


def draw(*strokes: list[Point]) -> np.ndarray:
    """Draws strokes through (x, y) as a person's drawing is read: thin lines, uint8 [512, 512] in {0, 1}."""
    ink = np.zeros((SIDE, SIDE), np.uint8)
    for points in strokes:
        cv2.polylines(ink, [np.rint(points).astype(np.int32)], False, 1, 5)
    return centre_lines(ink)


def arc(x: float, y: float, rx: float, ry: float, start: float = 0, stop: float = 360) -> list[Point]:
    """Returns points on an ellipse; degrees, clockwise from the right."""
    angles = np.radians(np.linspace(start, stop, 90))
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in angles]


def polar(x: float, y: float, radius: float, degrees: float) -> Point:
    return x + radius * math.cos(math.radians(degrees)), y + radius * math.sin(math.radians(degrees))


def parts_of(lines: np.ndarray) -> int:
    """Returns into how many parts the lines alone divide the page."""
    return cv2.connectedComponents(1 - lines, connectivity=4)[0] - 1


def closed_parts(lines: np.ndarray) -> int:
    """Returns into how many parts the lines divide the page after gaps are closed."""
    return parts_of(lines | close_gaps(lines))


def sun(count: int, gap: float) -> np.ndarray:
    """Returns a disc with rays that begin `gap` px from it."""
    angles = [360 * number / count + 5 for number in range(count)]
    rays = [[polar(256, 256, 80 + gap, a), polar(256, 256, 125 + gap, a + 3)] for a in angles]
    return draw(arc(256, 256, 80, 80), *rays)


def hedgehog() -> np.ndarray:
    spikes = [[polar(256, 300, 118, a), polar(256, 300, 165, a)] for a in range(190, 350, 14)]
    return draw(arc(256, 300, 120, 120), *spikes)


def comb(teeth: int = 9) -> np.ndarray:
    return draw([(90, 150), (420, 150)], *([(90 + 41 * i, 150), (90 + 41 * i, 300)] for i in range(teeth)))


def toes() -> np.ndarray:
    """Returns a leg that ends in three toes, each a single line."""
    leg = arc(200, 250, 110, 70)
    return draw(leg, *([(308, 250), polar(308, 250, 85, a)] for a in (-30, 0, 30)))


def grass() -> np.ndarray:
    blades = [[(60 + 30 * i, 400), (66 + 30 * i + 8 * (i % 2), 300 - 17 * (i % 3))] for i in range(12)]
    return draw([(30, 400), (450, 400), (450, 470), (30, 470), (30, 400)], *blades)


def whiskers() -> np.ndarray:
    left = [[(166, 256 + 20 * i), (90, 250 + 34 * i)] for i in (-1, 0, 1)]
    right = [[(346, 256 + 20 * i), (422, 250 + 34 * i)] for i in (-1, 0, 1)]
    return draw(arc(256, 256, 95, 95), *left, *right)


@pytest.mark.parametrize(
    "lines", [sun(10, 0), sun(10, 12), sun(7, 8), hedgehog(), comb(), toes(), grass(), whiskers()]
)
def test_a_row_of_spikes_encloses_nothing(lines: np.ndarray) -> None:
    assert closed_parts(lines) == parts_of(lines)


def test_a_ray_is_not_extended_to_the_border_of_the_image() -> None:
    lines = draw(
        arc(70, 70, 35, 35), *([polar(70, 70, 40, a), polar(70, 70, 60, a)] for a in range(0, 360, 36))
    )
    assert closed_parts(lines) == parts_of(lines)


def boat() -> np.ndarray:
    """Returns a hull without a deck line."""
    return draw([(110, 260), (160, 350), (350, 350), (400, 260)])


def bird() -> np.ndarray:
    """Returns a body that is open at its tail, and the beak."""
    return draw(arc(256, 256, 120, 80, 28, 345), [(136, 250), (100, 262), (137, 275)])


def portrait() -> np.ndarray:
    """Returns a head on shoulders that are cut off straight, with two lines of a coat."""
    coat = [(225, 300), (210, 480)], [(300, 310), (345, 480)]
    return draw(arc(256, 180, 80, 80), arc(256, 480, 170, 190, 180, 360), *(list(line) for line in coat))


@pytest.mark.parametrize(("lines", "points"), [(boat(), [(256, 310)]), (bird(), [(256, 256)]),
    (portrait(), [(150, 440), (256, 440), (390, 440)])])  # fmt: skip
def test_an_open_outline_is_closed(lines: np.ndarray, points: list[tuple[int, int]]) -> None:
    _, parts = cv2.connectedComponents(1 - (lines | close_gaps(lines)), connectivity=4)
    for x, y in points:
        assert parts[y, x] != parts[5, 5], "the figure is open to the ground"


def test_lines_that_end_within_a_figure_do_not_tear_it() -> None:
    legs = [(170, 330), (190, 230), (180, 200)], [(330, 330), (320, 240), (330, 200)]
    lines = draw(arc(256, 256, 180, 110), *(list(leg) for leg in legs))
    assert closed_parts(lines) == parts_of(lines)


def test_a_line_behind_a_figure_does_not_part_it() -> None:
    hill = [(0, 240), (200, 250)], [(310, 250), (511, 240)]  # it overshoots the outline of the tree
    lines = draw(arc(256, 250, 90, 100), *(list(line) for line in hill))
    regions = Areas.find(lines, lines).regions
    assert regions[200, 256] == regions[300, 256]


def test_within_a_frame_a_figure_is_closed_too() -> None:
    frame = [(15, 15), (496, 15), (496, 496), (15, 496), (15, 15)]
    figure = arc(256, 256, 120, 120, 12, 348)
    assert closed_parts(draw(frame, figure)) == 3
