"""The recipe, step by step and whole: edges, labels, and the article's own arithmetic."""

import dataclasses

import cv2
import numpy as np
import photos
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from preprocess.decode import Rejected
from preprocess.edges import canny_thresholds
from preprocess.posterize import to_labels
from preprocess.recipe import ARTICLE, DEFAULT, Recipe
from preprocess.transform import centre_square, stretch, transform
from tfrecords_schema import Palette

GREY = hnp.arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20)))


def as_in_the_article(data):
    """The article's recipe in its own terms: floats, np.median, a distance to each colour for each pixel."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    image = cv2.resize(image, (128, 128)).astype(float)
    image = np.rint((image - image.min()) / (image.max() - image.min()) * 255).astype(np.uint8)
    grey = cv2.bilateralFilter(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), 3, 60, 120)
    median = np.median(grey)
    low, high = int(max(0, median - 0.33 * 255)), int(min(255, median + 0.33 * 255))
    edges = (cv2.Canny(grey, low, high) > 0).astype(np.uint8)
    values = np.arange(0, 255, 255 / 3)
    colours = np.array([(r, g, b) for r in values for g in values for b in values])
    distances = np.linalg.norm(image[:, :, None].astype(float) - colours, axis=-1)
    return edges, distances.argmin(axis=-1)


@pytest.mark.parametrize("seed", range(5))
def test_the_article_recipe_is_the_article(seed):
    data = photos.png(photos.picture(seed, 200, 300))  # PNG: one decoder cannot differ from another
    edges, labels = transform(data, ARTICLE)
    expected_edges, expected_labels = as_in_the_article(data)
    np.testing.assert_array_equal(edges, expected_edges)
    np.testing.assert_array_equal(labels, expected_labels)


@pytest.mark.parametrize(
    "recipe", [DEFAULT, ARTICLE, Recipe(image_size=64, palette=Palette.grid(8), fit="crop")]
)
def test_maps_have_the_shape_and_range_that_the_recipe_says(recipe):
    edges, labels = transform(photos.jpeg(photos.picture(3)), recipe)
    assert edges.shape == labels.shape == (recipe.image_size, recipe.image_size)
    assert edges.dtype == np.uint8
    assert set(np.unique(edges)) == {0, 1}
    assert labels.dtype == recipe.palette.label_dtype
    assert labels.max() < len(recipe.palette)


@given(GREY, st.floats(0, 1))
def test_thresholds_stand_around_numpys_median(grey, spread):
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
def test_labels_of_palette_colours_are_themselves(num_values):
    palette = Palette.grid(num_values)
    labels = np.arange(len(palette))[None]
    np.testing.assert_array_equal(to_labels(palette.to_rgb(labels), palette), labels)


@given(hnp.arrays(np.uint8, (5, 4, 3)))
def test_stretch_reaches_both_ends_and_keeps_order(rgb):
    if rgb.min() == rgb.max():
        with pytest.raises(Rejected, match="constant"):
            stretch(rgb)
        return
    stretched = stretch(rgb)
    assert stretched.min() == 0
    assert stretched.max() == 255
    order = np.argsort(rgb, axis=None, kind="stable")
    assert (np.diff(stretched.ravel()[order].astype(int)) >= 0).all()


def test_crop_keeps_the_middle_and_squash_keeps_all():
    wide = np.arange(40, dtype=np.uint8).reshape(4, 10)[..., None].repeat(3, axis=2)
    np.testing.assert_array_equal(centre_square(wide), wide[:, 3:7])
    np.testing.assert_array_equal(centre_square(wide.swapaxes(0, 1)), wide[:, 3:7].swapaxes(0, 1))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image_size": 100}, "multiple of 8"),
        ({"image_size": 8}, "16 to 2048"),
        ({"fit": "stretch"}, "squash or crop"),
        ({"max_pixels": 100}, "image_size"),
    ],
)
def test_a_recipe_out_of_range_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        Recipe(**changes)


def test_every_setting_changes_the_fingerprint():
    other = {
        "image_size": 64,
        "palette": Palette.grid(4),
        "fit": "crop",
        "decode": "full",
        "resize": "bilinear",
    }
    other |= {"max_pixels": 1 << 20, "bilateral_diameter": 5, "bilateral_sigma_color": 1.0}
    other |= {"bilateral_sigma_space": 1.0, "canny_spread": 0.5, "version": 99}
    assert set(other) == {field.name for field in dataclasses.fields(Recipe)}
    prints = {dataclasses.replace(DEFAULT, **{name: value}).fingerprint for name, value in other.items()}
    assert len(prints | {DEFAULT.fingerprint}) == len(other) + 1
