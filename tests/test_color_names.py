"""Names of colours on the page, of layers and in an SVG."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from linewash.coloring.color_names import color_name, color_names, layer_name

from tfrecords_schema import LINEWASH_COLORS, Palette

GREYS = {
    "white", "off-white", "pale grey", "silver", "light grey", "medium grey", "grey", "dark grey", "charcoal",
    "near black", "black",
}  # fmt: skip
colors = st.tuples(*[st.integers(0, 255)] * 3)


def test_each_colour_of_the_builtin_palette_has_its_own_name() -> None:
    assert color_names(Palette.linewash()) == list(LINEWASH_COLORS)
    assert len(set(LINEWASH_COLORS)) == 32


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((0, 0, 0), "black"),
        ((255, 255, 255), "white"),
        ((24, 104, 186), "blue"),
        ((255, 0, 0), "red"),
        ((0, 160, 60), "green"),
        ((255, 230, 0), "yellow"),
        ((150, 90, 50), "brown"),
        ((30, 30, 90), "dark blue"),
        ((120, 120, 120), "grey"),
        ((129, 70, 146), "purple"),
        ((218, 105, 56), "orange"),
        ((87, 181, 227), "sky blue"),
        ((244, 164, 96), "sandy brown"),
        ((100, 149, 237), "cornflower blue"),
        ((45, 45, 50), "charcoal"),
    ],
)
def test_a_colour_has_the_name_of_the_nearest_named_one(rgb: tuple[int, int, int], name: str) -> None:
    assert color_name(rgb) == name
    assert color_names(Palette("two", (rgb, (1, 2, 3))))[0] == name


@pytest.mark.parametrize(
    ("hex_colors", "names"),
    [
        ("000000 808080 ffffff 800000 ff0000 800080 008000 808000 ffff00 000080 0000ff 008080",
         "black grey white maroon red purple green olive yellow navy blue teal"),
        ("1868ba 54adea 1e2a60 4a76ad 8da7c8", "blue,sky blue,dark blue,steel blue,light blue"),
        ("333333 444444 555555", "charcoal,dark grey,grey"),
    ],
)  # fmt: skip
def test_similar_colours_of_a_palette_have_different_names(hex_colors: str, names: str) -> None:
    palette = Palette("some", tuple((c[0], c[1], c[2]) for c in map(bytes.fromhex, hex_colors.split())))
    assert color_names(palette) == (names.split(",") if "," in names else names.split())


@settings(deadline=None, max_examples=100)
@given(st.lists(colors, min_size=2, max_size=40, unique=True))
def test_the_names_of_a_palette_differ_and_those_of_the_builtin_one_stay(
    own: list[tuple[int, int, int]],
) -> None:
    builtin = Palette.linewash().colors
    palette = Palette("mixed", (*builtin[:5], *(color for color in own if color not in builtin)))
    names = color_names(palette)
    assert len(set(names)) == len(names)
    assert names[:5] == list(LINEWASH_COLORS)[:5]


@given(st.sets(st.integers(0, 255), min_size=2, max_size=60))
@settings(deadline=None)
def test_greys_never_have_the_name_of_a_hue(values: set[int]) -> None:
    palette = Palette("greys", tuple((value, value, value) for value in sorted(values)))
    assert {name.rstrip("0123456789 ") for name in color_names(palette)} <= GREYS
    assert {color_name(color) for color in palette.colors} <= GREYS


@given(st.integers(0, 255), st.integers(0, 255))
def test_clear_hues_are_never_called_grey(first: int, second: int) -> None:
    assert color_name((255, first, 0)) not in GREYS
    assert color_name((0, 100 + first // 3, second)) not in GREYS


def test_palettes_larger_than_the_table_have_numbers() -> None:
    names = color_names(Palette.grid(7))
    assert len(set(names)) == 343
    assert any(name.endswith(" 2") for name in names)


def test_layers_are_sorted_by_label() -> None:
    assert layer_name(Palette.linewash(), 9) == "09-orange-f6922e"
    assert layer_name(Palette.linewash(), 13) == "13-light-blue-8da7c8"
