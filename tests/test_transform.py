"""The conversion of an image to edges and labels, and each of its steps."""

import helper_photos
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from preprocess.lines.canny import canny_thresholds
from preprocess.pixels import center_square, stretch
from preprocess.posterize import to_labels
from preprocess.recipe import ARTICLE, DEFAULT, Recipe
from preprocess.rejects import Rejected
from preprocess.transform import transform
from tfrecords_schema import Palette

GREY = hnp.arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20)))


@pytest.mark.parametrize(
    "recipe", [DEFAULT, ARTICLE, Recipe(image_size=64, palette=Palette.grid(8), fit="crop")]
)
def test_maps_have_the_shape_and_range_of_the_recipe(recipe):
    edges, labels = transform(helper_photos.jpeg(helper_photos.make_image(3)), recipe)
    assert edges.shape == (1, recipe.image_size, recipe.image_size)
    assert labels.shape == (recipe.image_size, recipe.image_size)
    assert edges.dtype == np.uint8
    assert set(np.unique(edges)) == {0, 1}
    assert labels.dtype == recipe.palette.label_dtype
    assert labels.max() < len(recipe.palette)


@given(GREY, st.floats(0, 1))
def test_thresholds_are_around_the_median(grey, spread):
    median = np.median(grey)
    expected = max(0, int(median - 255 * spread)), min(255, int(median + 255 * spread))
    assert canny_thresholds(grey, spread) == expected


@given(hnp.arrays(np.uint8, (4, 4, 3)), st.integers(2, 16))
def test_labels_are_the_nearest_colours_of_the_palette(rgb, num_values):
    palette = Palette.grid(num_values)
    distances = ((rgb[:, :, None].astype(int) - palette.rgb.astype(int)) ** 2).sum(axis=-1)
    labels = to_labels(rgb, palette)
    assert labels.dtype == palette.label_dtype
    np.testing.assert_array_equal(labels, distances.argmin(axis=-1))


@pytest.mark.parametrize("num_values", [2, 3, 6, 7, 16])
def test_palette_colours_keep_their_labels(num_values):
    palette = Palette.grid(num_values)
    labels = np.arange(len(palette))[None]
    np.testing.assert_array_equal(to_labels(palette.to_rgb(labels), palette), labels)


@given(hnp.arrays(np.uint8, (5, 4, 3)), st.booleans())
def test_stretch_reaches_both_ends_and_keeps_order(rgb, truncate):
    if rgb.min() == rgb.max():
        with pytest.raises(Rejected, match="constant"):
            stretch(rgb, truncate)
        return
    stretched = stretch(rgb, truncate)
    assert stretched.min() == 0
    assert stretched.max() == 255
    order = np.argsort(rgb, axis=None, kind="stable")
    assert (np.diff(stretched.ravel()[order].astype(int)) >= 0).all()


def test_stretch_truncates_or_rounds():
    rgb = np.arange(10, 200, dtype=np.uint8).reshape(-1, 1, 1).repeat(3, axis=2)
    exact = (np.arange(10, 200) - 10) / 189 * 255
    np.testing.assert_array_equal(stretch(rgb)[:, 0, 0], np.rint(exact))
    np.testing.assert_array_equal(stretch(rgb, truncate=True)[:, 0, 0], np.floor(exact))


ONE_COLOR = np.full((150, 200, 3), (9, 0, 0))
CLEAR = np.full((150, 200, 1), 100)


@pytest.mark.parametrize(
    "data",
    [
        helper_photos.raw_png(ONE_COLOR, 8, 2),
        helper_photos.raw_png(ONE_COLOR * 257, 16, 2),
        helper_photos.raw_png(ONE_COLOR[..., :1], 8, 0),
        helper_photos.raw_png(np.concatenate([ONE_COLOR, CLEAR], axis=-1), 8, 6),
        helper_photos.raw_png(np.concatenate([ONE_COLOR, CLEAR], axis=-1) * 257, 16, 6),
        helper_photos.raw_png(
            np.concatenate([helper_photos.make_image(1), CLEAR * 0], axis=-1), 8, 6
        ),  # fully transparent
        helper_photos.jpeg(ONE_COLOR.astype(np.uint8)),
    ],
)
@pytest.mark.parametrize("recipe", [DEFAULT, ARTICLE])
def test_an_image_of_one_colour_is_rejected_as_constant(data, recipe):
    with pytest.raises(Rejected, match=r"every pixel is \(\d+, \d+, \d+\)") as e:
        transform(data, recipe)
    assert e.value.reason == "constant"


def test_an_image_of_two_colours_in_one_channel_is_accepted():
    half = ONE_COLOR.copy()
    half[:70, :, 1] = 9
    edges, labels = transform(helper_photos.raw_png(half, 8, 2), DEFAULT)
    assert edges.any()
    assert len(np.unique(labels)) == 2


def test_crop_keeps_the_middle_and_squash_keeps_all():
    wide = np.arange(40, dtype=np.uint8).reshape(4, 10)[..., None].repeat(3, axis=2)
    np.testing.assert_array_equal(center_square(wide), wide[:, 3:7])
    np.testing.assert_array_equal(center_square(wide.swapaxes(0, 1)), wide[:, 3:7].swapaxes(0, 1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 100}, "multiple of 8"),
        ({"image_size": 8}, "16 to 2048"),
        ({"fit": "stretch"}, "squash or crop"),
        ({"max_pixels": 100}, "image_size"),
    ],
)
def test_a_recipe_out_of_range_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**changes)
