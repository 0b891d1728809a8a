"""The line styles on pictures of simple shapes: where the lines are, and that they are one pixel wide."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from preprocess.lines.borders import border_lines
from preprocess.lines.canny import to_edges
from preprocess.lines.styles import LINE_STYLES, line_maps
from preprocess.lines.thinning import thin
from preprocess.posterize import to_labels
from preprocess.recipe import DEFAULT

OWN_STYLES = [name for name in LINE_STYLES if name != "drawn"]  # drawn without a drawing's lines
SIZE = 128


def draw_lines(style: str, rgb: np.ndarray) -> np.ndarray:
    labels = to_labels(rgb, DEFAULT.known_palette)
    return line_maps([style], rgb, labels, None, DEFAULT)[0]


def flat(value: int) -> np.ndarray:
    return np.full((SIZE, SIZE, 3), value, np.uint8)


def disc() -> np.ndarray:
    return cv2.circle(flat(255), (64, 64), 40, (0, 0, 0), -1, cv2.LINE_AA)


def textured() -> np.ndarray:
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(rng.random((SIZE, SIZE, 3), np.float32), (0, 0), 1.5)
    return cv2.normalize(noise, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


@pytest.mark.parametrize("style", OWN_STYLES)
@pytest.mark.parametrize("value", [0, 90, 255])
def test_a_flat_picture_has_no_lines(style: str, value: int) -> None:
    assert not draw_lines(style, flat(value)).any()


@pytest.mark.parametrize("style", OWN_STYLES)
def test_a_disc_has_one_closed_outline(style: str) -> None:
    lines = draw_lines(style, disc())
    rows, columns = np.nonzero(lines)
    distance = np.abs(np.hypot(rows - 64, columns - 64) - 40)
    assert distance.max() <= 3
    assert cv2.connectedComponents(lines, connectivity=8)[0] == 2  # the background and the outline
    assert cv2.connectedComponents(1 - lines, connectivity=4)[0] == 3  # the outline, inside and outside


@pytest.mark.parametrize("style", OWN_STYLES)
def test_stripes_have_a_line_on_each_side_or_along_them(style: str) -> None:
    rgb = flat(255)
    for left in range(16, 112, 32):
        rgb[:, left : left + 16] = 0
    columns = draw_lines(style, rgb)[20:-20].mean(0)
    for side in range(16, 97, 16):
        assert columns[side - 2 : side + 2].sum() == pytest.approx(1, abs=0.05), side
    assert columns.sum() == pytest.approx(6, abs=0.2)


@pytest.mark.parametrize("style", ["canny", "canny_fine", "xdog"])
def test_a_gradient_has_no_lines(style: str) -> None:
    gradient = np.tile(np.linspace(0, 255, SIZE).astype(np.uint8)[None, :, None], (SIZE, 1, 3))
    assert not draw_lines(style, gradient).any()


@pytest.mark.parametrize("style", ["xdog", "borders"])
@pytest.mark.parametrize("make", [disc, textured])
def test_lines_are_one_pixel_wide(style: str, make) -> None:
    lines = draw_lines(style, make())
    assert lines.any()
    assert np.array_equal(thin(lines), lines)


@pytest.mark.parametrize("style", OWN_STYLES)
@pytest.mark.parametrize("size", [16, 24, 128, 256])
def test_a_style_is_a_pure_function_of_the_picture(style: str, size: int) -> None:
    rgb = np.ascontiguousarray(cv2.resize(textured(), (size, size)))
    before = rgb.copy()
    lines = draw_lines(style, rgb)
    assert lines.shape == (size, size)
    assert lines.dtype == np.uint8
    assert lines.max() <= 1
    np.testing.assert_array_equal(draw_lines(style, rgb), lines)
    np.testing.assert_array_equal(rgb, before)


def test_fine_edges_are_more_and_coarse_edges_have_no_texture() -> None:
    noise = np.random.default_rng(0).integers(0, 100, (SIZE, SIZE, 1)).astype(np.uint8)
    rgb = disc() // 2 + noise
    coarse, usual, fine = (draw_lines(f"canny{name}", rgb).sum() for name in ("_coarse", "", "_fine"))
    assert coarse < usual < fine


def test_canny_is_the_style_of_the_article() -> None:
    np.testing.assert_array_equal(draw_lines("canny", textured()), to_edges(textured(), DEFAULT))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@given(data=st.data())
def test_borders_lie_where_labels_change(dtype: type, data: st.DataObject) -> None:
    labels = data.draw(arrays(dtype, (24, 24), elements=st.integers(0, 3)))
    changes = np.zeros(labels.shape, np.uint8)
    changes[:, :-1] |= labels[:, 1:] != labels[:, :-1]
    changes[:-1] |= labels[1:] != labels[:-1]
    assert (border_lines(labels) <= cv2.dilate(changes, np.ones((5, 5), np.uint8))).all()


def test_borders_separate_areas_and_ignore_specks() -> None:
    labels = np.zeros((SIZE, SIZE), np.uint16)
    labels[:, 50:] = 300
    labels[60:, 50:] = 7
    expected = border_lines(labels)
    assert expected[:, 49].sum() >= SIZE - 1  # the junction may be rounded
    assert expected[59, 51:].all()
    assert cv2.connectedComponents(1 - expected, connectivity=4)[0] == 4  # three areas, and the lines
    rng = np.random.default_rng(1)
    for y, x in rng.integers(2, 120, (30, 2)).tolist():
        if abs(x - 49) > 4 and abs(y - 59) > 4:
            labels[y, x] = 9
    np.testing.assert_array_equal(border_lines(labels), expected)


def test_labels_that_are_all_specks_have_borders_too() -> None:
    labels = np.indices((16, 16)).sum(0).astype(np.uint8) % 2
    assert border_lines(labels).max() <= 1


def test_drawn_lines_are_those_of_the_drawing() -> None:
    rgb, labels = disc(), np.zeros((SIZE, SIZE), np.uint8)
    lines = np.eye(SIZE, dtype=np.uint8)
    maps = line_maps(["drawn", "canny"], rgb, labels, lines, DEFAULT)
    np.testing.assert_array_equal(maps[0], lines)
    np.testing.assert_array_equal(maps[1], to_edges(rgb, DEFAULT))
    with pytest.raises(ValueError, match="drawn"):
        line_maps(["drawn"], rgb, labels, None, DEFAULT)
