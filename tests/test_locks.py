"""Locked colours, dividers and replaced colours, on drawings that are made by hand in code."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from helper_networks import write_export
from hypothesis import given, settings
from hypothesis import strategies as st
from linewash.coloring import locks
from linewash.coloring.colorizer import ColoredImage, Settings, choose_colors, colorize
from linewash.coloring.hint_strokes import check_shape
from linewash.coloring.line_extraction import read_drawing
from linewash.coloring.model_loader import Network, load
from linewash.coloring.openraster import layer_names
from linewash.coloring.svg_writer import to_svg
from linewash.samples.sketches import encode_image

from training.errors import WorkError

RED, BLUE, ODD = (214, 24, 31), (20, 60, 200), (7, 201, 133)  # none is in the palette
SIDE = 400
WALL, LEFT, RIGHT, GROUND = (150, 300), (60, 60), (340, 60), (200, 390)  # x, y of points in the areas


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    return load(write_export(tmp_path_factory.mktemp("networks") / "plain"))


def rooms() -> np.ndarray:
    """Returns a large room below two small ones."""
    image = np.full((SIDE, SIDE, 3), 255, np.uint8)
    cv2.rectangle(image, (20, 20), (380, 370), (0, 0, 0), 4)
    cv2.line(image, (20, 110), (380, 110), (0, 0, 0), 4)
    cv2.line(image, (200, 20), (200, 110), (0, 0, 0), 4)
    return image


def with_window(image: np.ndarray) -> np.ndarray:
    return cv2.rectangle(image.copy(), (240, 180), (320, 260), (0, 0, 0), 4)


def with_wall_through_the_room(image: np.ndarray, x: int) -> np.ndarray:
    return cv2.line(image.copy(), (x, 110), (x, 370), (0, 0, 0), 4)


def color(
    image: np.ndarray,
    network: Network,
    locked: np.ndarray | None = None,
    hints: np.ndarray | None = None,
    **more: object,
) -> ColoredImage:
    settings = Settings(background="paint", **more)  # type: ignore[arg-type]
    return colorize(read_drawing(encode_image(image)), network, settings, hints, locked)[0]


def lock(*areas: tuple[tuple[int, int], tuple[int, int, int]]) -> np.ndarray:
    """Returns locked colours: the areas of `rooms` at points (x, y), in a colour each."""
    _, parts = cv2.connectedComponents((rooms()[..., 0] > 200).astype(np.uint8), connectivity=4)
    locked = np.zeros((SIDE, SIDE, 4), np.uint8)
    for (x, y), rgb in areas:
        room = (parts == parts[y, x]).astype(np.uint8)
        locked[cv2.dilate(room, np.ones((5, 5), np.uint8)) == 1] = (*rgb, 255)
    return locked


def dab(x: int, y: int, rgb: tuple[int, int, int]) -> np.ndarray:
    strokes = np.zeros((SIDE, SIDE, 4), np.uint8)
    cv2.circle(strokes, (x, y), 6, (*rgb, 255), -1)
    return strokes


def at(image: ColoredImage, point: tuple[int, int]) -> tuple[int, ...]:
    return tuple(image.rgb(lines=False)[point[1], point[0]].tolist())


def origin_at(image: ColoredImage, point: tuple[int, int]) -> str:
    return next(region.origin for region in image.regions if region.mask[point[1], point[0]])


WINDOW = (280, 220)


def test_locked_colours_stay_whatever_they_are(network: Network) -> None:
    free = color(rooms(), network)
    locked = color(rooms(), network, lock((WALL, ODD), (LEFT, RED)))
    assert at(locked, WALL) == ODD
    assert at(locked, LEFT) == RED
    assert at(locked, RIGHT) == at(free, RIGHT)
    assert [origin_at(locked, point) for point in (WALL, LEFT, RIGHT)] == ["locked", "locked", "network"]
    assert any(name.endswith(bytes(ODD).hex()) for name in layer_names(locked))


def test_a_new_line_changes_only_the_area_that_it_cuts_out(network: Network) -> None:
    before = color(rooms(), network)
    after = color(with_window(rooms()), network, before.rgba(lines=False))
    changed = (before.rgb(lines=False) != after.rgb(lines=False)).any(-1)
    changed[170:270, 230:330] = False
    assert not changed.any()
    assert origin_at(after, WINDOW) == "network"
    assert at(after, WINDOW) == at(color(with_window(rooms()), network), WINDOW)


def test_of_a_divided_area_the_half_or_the_largest_piece_keeps_the_colour(network: Network) -> None:
    locked = lock((WALL, ODD))
    two = color(with_wall_through_the_room(rooms(), 140), network, locked)
    assert [origin_at(two, point) for point in ((80, 300), (300, 300))] == ["network", "locked"]
    three = with_wall_through_the_room(with_wall_through_the_room(rooms(), 120), 230)
    colored = color(three, network, locked)
    origins = [origin_at(colored, point) for point in ((70, 300), (170, 300), (300, 300))]
    assert origins == ["network", "network", "locked"]


def test_an_area_that_lies_mostly_on_free_pixels_is_free(network: Network) -> None:
    locked = lock((WALL, ODD))
    locked[:, 160:] = 0
    assert origin_at(color(rooms(), network, locked), WALL) == "network"
    locked = lock((WALL, ODD))
    locked[:, 260:] = 0
    assert at(color(rooms(), network, locked), (350, 300)) == ODD


def test_a_hint_counts_more_than_a_lock(network: Network) -> None:
    locked = color(rooms(), network, lock((WALL, ODD), (LEFT, RED)), dab(*WALL, BLUE))
    assert at(locked, WALL) == BLUE
    assert at(locked, LEFT) == RED
    assert origin_at(locked, WALL) == "hint"


def test_a_locked_neighbour_of_a_hint_does_not_follow_it(network: Network) -> None:
    """Around figures on paper, regions without a hint follow the nearest hint, but not if they are locked."""
    image = np.full((SIDE, SIDE, 3), 255, np.uint8)
    cv2.circle(image, (200, 200), 120, (0, 0, 0), 4)
    cv2.circle(image, (200, 200), 40, (0, 0, 0), 4)
    drawing = read_drawing(encode_image(image))
    (hinted,) = colorize(drawing, network, hints=dab(200, 110, RED))
    assert at(hinted, (200, 200)) == RED
    locked = np.zeros((SIDE, SIDE, 4), np.uint8)
    cv2.circle(locked, (200, 200), 40, (*ODD, 255), -1)
    (kept,) = colorize(drawing, network, hints=dab(200, 110, RED), locked=locked)
    assert [at(kept, point) for point in ((200, 200), (200, 110))] == [ODD, RED]


def test_locked_paper_stays_when_the_background_is_painted(network: Network) -> None:
    locked = lock((GROUND, (255, 255, 255)))
    assert at(color(rooms(), network, locked), GROUND) == (255, 255, 255)


def test_every_variant_keeps_locked_colours(network: Network) -> None:
    drawing = read_drawing(encode_image(rooms()))
    variants = colorize(
        drawing, network, Settings(variants=6, background="paint"), locked=lock((WALL, ODD), (RIGHT, RED))
    )
    assert len(variants) > 1
    for image in variants:
        assert [at(image, point) for point in (WALL, RIGHT)] == [ODD, RED]


def test_an_area_without_lines_keeps_several_locked_colours(network: Network) -> None:
    """A wide area may have been divided by the network, as sky and meadow."""
    image = np.full((SIDE, SIDE, 3), 255, np.uint8)
    cv2.circle(image, (300, 80), 30, (0, 0, 0), 4)
    locked = np.full((SIDE, SIDE, 4), 255, np.uint8)
    locked[:230, :, :3], locked[230:, :, :3] = BLUE, ODD
    locked[::20, ::20] = 0  # free specks are filled
    colored = color(image, network, locked)
    assert (colored.rgb(lines=False)[:215, :250] == BLUE).all()
    assert (colored.rgb(lines=False)[245:] == ODD).all()


def test_a_seam_parts_areas_of_one_colour(network: Network) -> None:
    locked = lock((LEFT, ODD), (RIGHT, ODD), (WALL, ODD))
    locked[110:113, 20:380] = locked[20:112, 198:203] = (*ODD, 255)  # without a seam, one region
    assert [origin_at(color(rooms(), network, locked), point) for point in (LEFT, WALL)] == [
        "network",
        "locked",
    ]
    locked[111, 20:380] = locked[20:112, 200] = 0
    colored = color(rooms(), network, locked)
    assert [origin_at(colored, point) for point in (LEFT, RIGHT, WALL)] == ["locked"] * 3


def test_locked_colours_may_have_any_size_but_only_the_drawings_shape(network: Network) -> None:
    small = lock((WALL, ODD))[::5, ::5]
    large = np.repeat(np.repeat(lock((WALL, ODD)), 3, 0), 3, 1)
    for locked in (small, large):
        assert at(color(rooms(), network, locked), WALL) == ODD
    with pytest.raises(WorkError, match="the locked colours are 400 x 300, but the drawing is 400 x 400"):
        color(rooms(), network, lock((WALL, ODD))[:300])


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(0, 4))
def test_an_equal_division_keeps_every_colour_and_hints_none(
    seed: int, num_areas: int, num_colors: int
) -> None:
    rng = np.random.default_rng(seed)
    areas = rng.integers(0, num_areas, (6, 6)).repeat(4, 0).repeat(4, 1).astype(np.int32)
    palette = rng.permutation(1 << 24)[: num_areas + num_colors].astype(np.int32)
    codes = palette[areas]  # each area has its own colour
    none, all_areas = np.zeros(num_areas, bool), np.ones(num_areas, bool)
    areas_used = int(areas.max()) + 1
    for is_wide in (none, all_areas):
        kept = locks.find_kept(areas, codes, none[:areas_used], is_wide[:areas_used])
        is_kept = kept != locks.FREE
        assert (kept[is_kept] == codes[is_kept]).all()
        # Of the separate parts of one colour at least the largest stays, and an area is not divided.
        assert all(is_kept[areas == area].any() for area in np.unique(areas))
        hinted = locks.find_kept(areas, codes, all_areas[:areas_used], is_wide[:areas_used])
        assert (hinted == locks.FREE).all()


# ---------------------------------------------------------------------------------------------- dividers


def dividers(*points: tuple[int, int], scale: int = 1) -> np.ndarray:
    strokes = np.zeros((SIDE * scale, SIDE * scale, 4), np.uint8)
    line = np.array([(x * scale, y * scale) for x, y in points])
    cv2.polylines(strokes, [line], False, (90, 90, 200, 255), 3 * scale)
    return strokes


@pytest.mark.parametrize("scale", [1, 3])
def test_a_divider_splits_an_area_but_is_not_drawn(network: Network, scale: int) -> None:
    drawing = read_drawing(encode_image(rooms()))
    divided = drawing.with_dividers(dividers((140, 105), (140, 375), scale=scale))
    settings = Settings(background="paint")
    (whole,) = colorize(drawing, network, settings, dab(80, 300, RED))
    (left,) = colorize(divided, network, settings, dab(80, 300, RED))
    assert [at(whole, point) for point in ((80, 300), (300, 300))] == [RED, RED]
    assert at(left, (80, 300)) == RED
    assert at(left, (300, 300)) != RED
    assert np.array_equal(drawing.line_opacity, divided.line_opacity)
    beside = (left.rgb(lines=False)[300] == RED).all(-1)
    assert abs(np.flatnonzero(beside).max() - 140) <= 3


def test_dividers_that_are_transparent_change_nothing() -> None:
    drawing = read_drawing(encode_image(rooms()))
    assert drawing.with_dividers(np.zeros((SIDE, SIDE, 4), np.uint8)) is drawing


def test_dividers_have_the_drawings_shape() -> None:
    with pytest.raises(
        WorkError, match="the dividers are 200 x 100, but the drawing is 100 x 100: draw them"
    ):
        check_shape("dividers", np.zeros((100, 200, 4)), 100, 100, "draw them over the drawing itself")


# ------------------------------------------------------------------------------------- sizes and colours


def test_a_resized_drawing_has_the_same_ink(network: Network) -> None:
    drawing = read_drawing(encode_image(rooms()))
    for side in (100, 400, 1200):
        resized = drawing.resized(side, side)
        assert resized.shape == resized.line_opacity.shape == (side, side)
        assert resized.line_opacity.min() >= 0
        assert resized.line_opacity.max() <= 1
        again = cv2.resize(resized.line_opacity, (50, 50), interpolation=cv2.INTER_AREA)
        original = cv2.resize(drawing.line_opacity, (50, 50), interpolation=cv2.INTER_AREA)
        assert abs(again - original).max() < 0.06


def test_colours_are_replaced_in_one_step(network: Network) -> None:
    image = color(rooms(), network, lock((WALL, RED), (LEFT, BLUE)))
    swapped = image.replace_colors({RED: BLUE, BLUE: ODD, ODD: (1, 2, 3)})
    assert [at(swapped, point) for point in (WALL, LEFT)] == [BLUE, ODD]
    assert at(swapped, RIGHT) == at(image, RIGHT)
    assert image.replace_colors({(9, 9, 9): RED}).rgb().tobytes() == image.rgb().tobytes()
    every = dict.fromkeys(image.palette.colors, ODD)
    assert (image.replace_colors(every).rgb(lines=False) == ODD).all()
    assert f"#{bytes(RED).hex()}" not in to_svg(swapped).decode()


def test_hints_keep_a_colour_that_is_replaced(network: Network) -> None:
    locked, hints = lock((LEFT, RED)), dab(*WALL, RED)
    replaced = color(rooms(), network, locked, hints).replace_colors({RED: BLUE})
    assert [at(replaced, point) for point in (WALL, LEFT)] == [RED, BLUE]
    drawing = read_drawing(encode_image(rooms()))
    coloring = choose_colors(drawing, network, Settings(background="paint"), hints, locked)
    (image,) = coloring.replace_colors({RED: BLUE}).images()
    assert (image.rgb() == replaced.rgb()).all()
