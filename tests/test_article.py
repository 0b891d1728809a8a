"""Compares `--recipe article`, pixel by pixel, with an independent implementation of the article.

The images are synthetic and of many kinds. LINEWASH_PHOTOS=FOLDER adds the images of a folder.
"""

import os
from collections import Counter
from pathlib import Path

import cv2
import helper_photos
import numpy as np
import pytest

from preprocess.recipe import ARTICLE
from preprocess.rejects import Rejected
from preprocess.transform import transform

FOLDER = os.environ.get("LINEWASH_PHOTOS", "")


def article_maps(data):
    """Computes (edges, labels) as the article describes, but in RGB instead of BGR."""
    image = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    image = cv2.resize(image, (128, 128))
    image = ((image - image.min()) / (image.max() - image.min()) * 255).astype(np.uint8)
    grey = cv2.bilateralFilter(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), 3, 60, 120)
    median = np.median(grey)
    low, high = int(max(0, median - 0.33 * 255)), int(min(255, median + 0.33 * 255))
    edges = (cv2.Canny(grey, low, high) > 0).astype(np.uint8)
    values = np.arange(0, 255, 255 / 3)
    colors = np.array([(r, g, b) for r in values for g in values for b in values])
    distances = np.linalg.norm(image[:, :, None].astype(float) - colors, axis=-1)
    return edges, distances.argmin(axis=-1)


def differing_fractions(data):
    """Returns the fractions of edges and of labels that differ from the article's."""
    (edges,), labels = transform(data, ARTICLE)
    pairs = zip((edges, labels), article_maps(data), strict=True)
    return [float(np.mean(actual != expected)) for actual, expected in pairs]


def reduce_contrast(image, low, high):
    """Maps the values 0..255 to low..high, so that min-max normalisation has an effect."""
    return (low + image / 255 * (high - low)).astype(np.uint8)


PICTURE = helper_photos.make_image(1, 300, 400)
NOISE = np.random.default_rng(0).integers(0, 256, PICTURE.shape, dtype=np.uint8)
ALL_VALUES = np.arange(256, dtype=np.uint8).reshape(16, 16).repeat(12, axis=0).repeat(12, axis=1)
KINDS = {
    "wide": helper_photos.jpeg(helper_photos.make_image(2, 150, 700)),
    "tall": helper_photos.jpeg(helper_photos.make_image(3, 700, 150)),
    "128 px": helper_photos.jpeg(helper_photos.make_image(4, 128, 128)),
    "large": helper_photos.jpeg(helper_photos.make_image(5, 1200, 1600)),
    "grey": helper_photos.jpeg(PICTURE[..., 0]),
    "noise": helper_photos.jpeg(NOISE),
    "rotated": helper_photos.with_orientation(helper_photos.jpeg(PICTURE), 6),
    "16 bits": helper_photos.png(PICTURE.astype(np.uint16) * 250),
    "two values": helper_photos.png((PICTURE > 120).astype(np.uint8) + 7),
    "all values": helper_photos.png(ALL_VALUES),
    **{f"contrast {low} to {high}": helper_photos.png(reduce_contrast(PICTURE, low, high))
       for low, high in ((0, 255), (1, 255), (0, 254), (3, 250), (100, 131), (17, 202))},
    **{f"picture {seed}": helper_photos.jpeg(helper_photos.make_image(seed, 200 + 7 * seed, 300))
       for seed in range(10, 20)},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_recipe_equals_the_article(kind):
    assert differing_fractions(KINDS[kind]) == [0, 0]


@pytest.mark.skipif(not FOLDER, reason="LINEWASH_PHOTOS is not set to a folder of images")
def test_the_recipe_equals_the_article_on_a_folder_of_images():
    """Decoders other than OpenCV's may change a few pixels of a few images."""
    counters = {"edges": Counter(), "labels": Counter()}
    for path in sorted(path for path in Path(FOLDER).rglob("*") if path.is_file()):
        try:
            fractions = differing_fractions(path.read_bytes())
        except Rejected:
            continue
        for counter, fraction in zip(counters.values(), fractions, strict=True):
            counter["exact" if not fraction else "within 2 %" if fraction <= 0.02 else "worse"] += 1
    print({name: dict(counter) for name, counter in counters.items()})
    for counter in counters.values():
        assert not counter["worse"]
        assert counter["exact"] >= 0.94 * counter.total() > 0
