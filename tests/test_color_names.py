"""Names of colours on the page, of layers and in an SVG."""

import pytest
from linewash.coloring.color_names import color_names, layer_name

from tfrecords_schema import LINEWASH_COLORS, Palette


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
    ],
)
def test_a_colour_has_the_name_of_the_nearest_named_one(rgb: tuple[int, int, int], name: str) -> None:
    assert color_names(Palette("two", (rgb, (1, 2, 3))))[0] == name


def test_layers_are_sorted_by_label() -> None:
    assert layer_name(Palette.linewash(), 9) == "09-orange-f6922e"
    assert layer_name(Palette.linewash(), 13) == "13-light-blue-8da7c8"
