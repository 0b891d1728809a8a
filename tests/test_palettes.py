"""Palettes, learnt and from files, and the labels of their nearest colours."""

import itertools
import json
import os
from concurrent.futures import ThreadPoolExecutor

import cv2
import helper_photos
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from preprocess import oklab, options, palettes
from preprocess.posterize import NearestTable, label_box, nearest_table, num_grid_values, to_labels
from preprocess.recipe import Recipe
from preprocess.sources import Image
from preprocess.transform import transform
from tfrecords_schema import LINEWASH_COLORS, Palette

FLAG = Palette(
    "flag", ((0, 0, 0), (255, 255, 255), (200, 30, 40), (20, 60, 160), (20, 60, 161), (250, 210, 60))
)


def nearest(rgb, palette):
    """Returns the nearest labels by brute force."""
    difference = oklab.to_oklab_units(rgb)[..., None, :].astype(np.int64) - oklab.to_oklab_units(palette.rgb)
    return (difference**2).sum(axis=-1).argmin(axis=-1)


@given(hnp.arrays(np.uint8, (6, 5, 3)))
def test_labels_are_the_nearest_colours_in_oklab(rgb):
    np.testing.assert_array_equal(to_labels(rgb, FLAG), nearest(rgb, FLAG))


@pytest.mark.slow
@pytest.mark.parametrize("colors", [2, 300, 1000])
def test_the_table_is_exact_for_small_and_large_palettes(colors):
    rng = np.random.default_rng(colors)
    palette = Palette(
        "many", tuple(map(tuple, np.unique(rng.integers(0, 256, (colors, 3)), axis=0).tolist()))
    )
    rgb = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    labels = to_labels(rgb, palette)
    assert labels.dtype == palette.label_dtype
    np.testing.assert_array_equal(labels, nearest(rgb, palette))
    nearest_table.cache_clear()


def palette_of(colors):
    """Returns a palette of the different colours among `colors`, [N, 3], in a random order."""
    different = np.unique(colors, axis=0)
    return Palette("many", tuple(map(tuple, np.random.default_rng(0).permutation(different).tolist())))


def around(corner, side=32):
    """Returns an image of 160 colours from a box of the RGB cube, including its corners."""
    within = np.random.default_rng(1).integers(0, side, (16, 10, 3))
    within[0, :8] = np.array(list(itertools.product((0, side - 1), repeat=3)))
    return (np.array(corner) + within).astype(np.uint8)


RNG = np.random.default_rng(2)
PALETTES = {
    "65,536 colours": palette_of(RNG.permutation(1 << 24)[:65_536, None] >> np.array([16, 8, 0]) & 255),
    "a dense cluster": palette_of(RNG.integers(180, 212, (8_000, 3))),
    "greys": palette_of(np.arange(256)[:, None].repeat(3, axis=1)),
    "two far apart": palette_of(np.array([[0, 0, 0], [255, 255, 255]])),
    "two alike": palette_of(np.array([[9, 9, 9], [9, 9, 10]])),
    "a lattice with ties": palette_of(np.array(list(itertools.product(range(0, 256, 8), repeat=3)))),
}


@pytest.mark.parametrize("corner", [(0, 0, 0), (224, 224, 224), (160, 32, 192), (192, 192, 192), (0, 224, 0)])
@pytest.mark.parametrize("name", PALETTES)
def test_labels_are_the_nearest_of_every_kind_of_palette(name, corner):
    palette, rgb = PALETTES[name], around(corner)
    expected = [nearest(row, palette) for row in rgb]
    np.testing.assert_array_equal(to_labels(rgb, palette), expected)
    np.testing.assert_array_equal(to_labels(rgb, palette), expected)  # from the filled table


def test_ties_get_the_lowest_label():
    points = np.stack(np.meshgrid(*[np.arange(32.0)] * 3, indexing="ij")) * 10
    colors = np.array(list(itertools.product((35, 115, 235, 315), repeat=3)), float).T  # between points
    colors = np.concatenate([colors, colors[:, ::-1]], axis=1)  # each of them twice
    out = np.empty((32, 32, 32), np.uint16)
    label_box(points, colors, np.arange(128), out)
    difference = points.reshape(3, -1, 1) - colors[:, None]
    np.testing.assert_array_equal(out.ravel(), (difference**2).sum(axis=0).argmin(axis=1))
    assert out.max() < 64


def test_only_the_part_of_the_table_that_images_need_is_computed():
    table = NearestTable(PALETTES["65,536 colours"])
    rgb = around((32, 64, 96))
    table.look_up(*cv2.split(rgb))
    assert table.num_filled == 1
    table.look_up(*cv2.split(rgb + np.uint8(16)))  # reaches into the neighbours on all sides
    assert table.num_filled == 8


def test_threads_that_share_a_table_agree():
    table, rgb = NearestTable(PALETTES["greys"]), helper_photos.make_image(1)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: table.look_up(*cv2.split(rgb)), range(16)))
    expected = NearestTable(PALETTES["greys"]).look_up(*cv2.split(rgb))
    for labels in results:
        np.testing.assert_array_equal(labels, expected)


def test_palette_colours_keep_their_labels():
    labels = np.arange(len(FLAG))[None]
    np.testing.assert_array_equal(to_labels(FLAG.to_rgb(labels), FLAG), labels)


def test_grid_palettes_are_recognised_by_their_colours():
    assert [num_grid_values(Palette.grid(n)) for n in range(2, 17)] == list(range(2, 17))
    assert num_grid_values(FLAG) == 0
    assert num_grid_values(Palette("same", Palette.grid(3).colors)) == 3


def test_oklab_values_and_inverse():
    # Values of Ottosson's article, to three digits.
    known = {
        (255, 255, 255): (1, 0, 0),
        (255, 0, 0): (0.628, 0.225, 0.126),
        (0, 0, 255): (0.452, -0.032, -0.312),
    }
    for rgb, lab in known.items():
        np.testing.assert_allclose(oklab.to_oklab(np.array(rgb, np.uint8)), lab, atol=1e-3)
    every = np.stack(np.meshgrid(*[np.arange(0, 256, 15, dtype=np.uint8)] * 3), axis=-1)
    np.testing.assert_array_equal(oklab.to_rgb(oklab.to_oklab(every)), every)


# --------------------------------------------------------------------------------------------- learnt


def test_clusters_are_learnt_from_dark_to_light():
    centers = np.array([[20, 20, 60], [200, 40, 40], [60, 180, 70], [240, 240, 220]])
    pixels = (centers.repeat(200, axis=0) + np.random.default_rng(0).integers(-3, 4, (800, 3))).astype(
        np.uint8
    )
    palette = palettes.learn_from_pixels(pixels, 4, seed=0)
    assert palette.name == "kmeans:4"
    lightness = oklab.to_oklab(palette.rgb)[:, 0]
    assert (np.diff(lightness) > 0).all()
    expected = centers[np.argsort(oklab.to_oklab(centers.astype(np.uint8))[:, 0])]
    np.testing.assert_allclose(palette.rgb, expected, atol=2)


def test_learning_depends_only_on_the_seed():
    pixels = helper_photos.make_image(1).reshape(-1, 3)
    first = palettes.learn_from_pixels(pixels, 12, seed=3)
    np.random.seed(5)  # the global state must not matter
    assert palettes.learn_from_pixels(pixels, 12, seed=3) == first


def test_too_few_colours_to_learn_from_is_an_error():
    with pytest.raises(palettes.PaletteError, match="fewer than 5 colours"):
        palettes.learn_from_pixels(np.zeros((100, 3), np.uint8), 5, seed=0)


def test_a_palette_learnt_from_images_beats_the_grid_of_as_many_colours(tmp_path):
    paths = sorted(helper_photos.make_image_folder(tmp_path, 12).rglob("*.JPEG"))
    (tmp_path / "bad.JPEG").write_bytes(b"bad")
    sample = [Image(str(path), str(path)) for path in [*paths, tmp_path / "bad.JPEG"]]
    recipe = Recipe(image_size=64)

    def error(palette):
        total = 0.0
        for path in paths:
            rgb = palettes.to_pixels(path.read_bytes(), recipe)
            difference = oklab.to_oklab(rgb) - oklab.to_oklab(palette.to_rgb(to_labels(rgb, palette)))
            total += np.sqrt((difference**2).sum(axis=-1)).mean()
        return total

    assert error(palettes.learn_from_images(sample, recipe, 27, seed=0)) < 0.6 * error(Palette.grid(3))


# ---------------------------------------------------------------------------------------------- files

COLOURS = ((255, 136, 0), (0, 0, 0), (18, 52, 86))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", json.dumps(COLOURS)),
        ("b.json", '["#ff8800", "000000", "#123456"]'),
        ("c.hex", "ff8800\n000000\n#123456\n"),
        (
            "d.gpl",
            "GIMP Palette\nName: mine\n# a comment\n255 136   0\tOrange\n  0 0 0\n 18 52 86 Ink\n",
        ),
    ],
)
def test_palette_files_are_read(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert palettes.load(str(tmp_path / name)) == Palette(name, COLOURS)


GPL = "GIMP Palette\nName: Café\nColumns: 3\n# mine\n255 136 0\tOrangé\n0 0 0\n18 52 86\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", json.dumps(COLOURS, indent=1)),
        ("b.json", '["#ff8800", [0.0, 0, 0], "123456"]'),
        ("c.hex", "ff8800\n000000\n#123456\n"),
        ("d.gpl", GPL),
    ],
)
def test_palette_files_of_any_encoding_and_line_end_are_read(tmp_path, name, text, encoding, line_end):
    (tmp_path / name).write_bytes(text.replace("\n", line_end).encode(encoding))
    assert palettes.load(str(tmp_path / name)).colors == COLOURS


def test_a_palette_file_may_be_in_the_home_folder_and_have_any_name(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    name = os.fsdecode(b"caf\xe9.HEX")
    (tmp_path / name).write_text("ff8800\n000000\n")
    palette = palettes.load(f"~/{name}")
    assert palette.name == r"caf\xe9.HEX"
    assert msgspec.json.encode(palette)  # as in the manifest


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--palette", "nothere.json"], r"--palette nothere.json cannot be read: No such file"),
        (["--palette", "."], r"--palette .: expected linewash, grid, kmeans:K, or a file"),
        (["--palette", "kmeans:1"], r"--palette kmeans:K takes 2 to 4096 colours"),
        (["--palette", "kmeans:8", "--num_values", "3"], r"--num_values is for the grid palette"),
        (["--num_values", "17"], r"--num_values must be from 2 to 16"),
        (["--image_size", "7"], r"--image_size must be a multiple of 8"),
    ],
)
def test_messages_begin_with_the_flag(flags, message):
    with pytest.raises(options.UsageError, match=f"^{message}"):
        options.parse(["--input", "photos", "--output", "dataset", *flags])


def test_a_folder_named_like_a_palette_is_refused(tmp_path):
    (tmp_path / "a.gpl").mkdir()
    with pytest.raises(palettes.PaletteError, match=r"a\.gpl cannot be read: Is a directory"):
        palettes.load(str(tmp_path / "a.gpl"))


@pytest.mark.parametrize("seed", [-1, 2**31 - 1, 3_000_000_000, 10**30])
def test_any_seed_learns_a_palette(seed):
    pixels = helper_photos.make_image(1).reshape(-1, 3)[::20]
    assert palettes.learn_from_pixels(pixels, 4, seed) == palettes.learn_from_pixels(pixels, 4, seed)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.json",
            "[[0.5, 0, 1], [0.1, 0.2, 0.3]]",
            r"from 0 to 1, .* \[0.1, 0.2, 0.3\].*whole numbers",
        ),
        ("a.json", "[[0, 0, 0], [1, 1, 1]]", r"from 0 to 1, .* \[1, 1, 1\].*from 0 to 255"),
        ("a.json", "[[0, 0, 0], [1.0, 1.0, 1.0], [1, 0, 0.0]]", "from 0 to 1"),
        ("a.json", '["#ffffff", [0.5, 0, 1]]', "from 0 to 1"),
        (
            "a.json",
            "[[0, 0, 0], [12.5, 3, 4]]",
            r"\[12.5, 3, 4\] is not a colour: expected three whole numbers",
        ),
        ("a.json", "[[0, 0, 0], [1e999, 3, 4]]", "is not a colour"),
        ("a.json", "[[0, 0, 0], [true, 3, 4]]", "is not a colour"),
        ("a.json", "[[0, 0, 0], [NaN, 3, 4]]", "is not a colour"),
        ("a.json", '[[0, 0, 0], ["9", 3, 4]]', "is not a colour"),
        ("a.json", "[[0, 0, 0], 7]", "7 is not a colour"),
        ("a.json", "[[], []]", r"\[\] is not a colour"),
        ("a.gpl", "GIMP Palette\n0 0 0\n-5 3 4 odd\n9 9 9\n", "line 3, '-5 3 4 odd'"),
        ("a.gpl", "GIMP Palette\n0 0 0\n0.5 0.1 0.9\n", "line 3, '0.5 0.1 0.9'"),
        ("a.gpl", "GIMP Palette\n0 0 0\nbright red\n", "line 3, 'bright red'"),
        ("a.gpl", "GIMP Palette\n0 0 0\n12 13\n", "line 3, '12 13'"),
        ("a.gpl", "GIMP Palette\n0 0 0\n1 2 300\n", r"\[1, 2, 300\].*from 0 to 255"),
        ("a.hex", "ff8800\n\0", "not a text file"),
        ("a.json", '{"red": 1}', "expected a list of colours"),
        ("a.json", "[[1, 2]]", "is not a palette"),
        ("a.json", "[[1, 2, 3], [1, 2, 300]]", "from 0 to 255"),
        ("a.json", "[[1, 2, 3]]", "expected 2 to 65536 colours, got 1"),
        ("a.json", "[[", "is not a palette"),
        ("a.hex", "ff8800 orange", "'orange' is not a colour like #ff8800"),
        ("a.gpl", "255 136 0", 'the first line is not "GIMP Palette"'),
        ("a.act", "", "expected linewash, grid, kmeans:K, or a file .json, .gpl or .hex"),
    ],
)
def test_a_file_that_is_no_palette_is_refused_with_a_reason(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(palettes.PaletteError, match=message) as e:
        palettes.load(str(tmp_path / name))
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"7", b"[]", b"[" * 100_000, b'{"name": 1, "colors": [[0, 0, 0], [9, 9, 9]]}',
        *(
            b'{"name": "a", "colors": ' + colors + b"}"
            for colors in (
                b"5", b"[1, 2]", b"[]", b"[[0, 0, 0], [9, 9, NaN]]", b"[[0, 0, 0], [1e999, 0, 0]]",
                b"[[0, 0, 0], [[9], 9, 9]]", b"[[0, 0, 0], [-1, 0, 0]]", b"[[" + b"9" * 5_000 + b", 0, 0]]",
            )
        ),
        b'{"name": "\xff"}',
    ],
)  # fmt: skip
def test_a_learnt_palette_that_is_damaged_is_named(data):
    with pytest.raises(
        palettes.PaletteError, match=r"saved.json, the palette learnt before, is damaged"
    ) as e:
        palettes.load_learnt_palette(data, "saved.json")
    assert "\n" not in str(e.value)


@given(st.text(max_size=60))
def test_any_text_is_a_palette_or_an_error(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.hex"
    path.write_text(text)
    try:
        palettes.load(str(path))
    except palettes.PaletteError as e:
        assert str(path) in str(e)  # noqa: PT017


def test_the_name_of_a_palette_does_not_change_the_fingerprint():
    assert (
        Recipe(palette=Palette("a", COLOURS)).fingerprint == Recipe(palette=Palette("b", COLOURS)).fingerprint
    )
    assert (
        Recipe(palette=Palette("a", COLOURS[::-1])).fingerprint
        != Recipe(palette=Palette("a", COLOURS)).fingerprint
    )


def test_a_recipe_with_a_palette_from_a_file():
    rgb = helper_photos.make_image(5)
    _, labels = transform(helper_photos.png(rgb), Recipe(palette=FLAG))
    assert labels.max() < len(FLAG)
    assert len(np.unique(labels)) > 2


def test_a_colour_with_two_names_gets_one_label(tmp_path):
    path = tmp_path / "two.gpl"
    path.write_text("GIMP Palette\nName: Two\n#\n0 0 0\tink\n255 0 0\tred\n0 0 0\tshadow\n9 9 9\n")
    assert palettes.load(str(path)).colors == ((0, 0, 0), (255, 0, 0), (9, 9, 9))


# ------------------------------------------------------------------------------------- the built-in palette


LINEWASH = Palette.linewash()


def oklab_hues(rgb):
    """Returns the chroma and the hue in degrees of colours in OKLab."""
    _, a, b = oklab.to_oklab(rgb).T
    return np.hypot(a, b), np.degrees(np.arctan2(b, a)) % 360


def test_the_builtin_palette_has_32_colours_from_white_to_black():
    assert (LINEWASH.name, len(LINEWASH)) == ("linewash", 32)
    assert list(LINEWASH_COLORS.values()) == [f"#{bytes(color).hex()}" for color in LINEWASH.colors]
    lightness = oklab.to_oklab(LINEWASH.rgb)[:, 0].reshape(4, 8)
    greys = LINEWASH.rgb[[0, 1, 2, 8, 16, 24]]
    assert (greys == greys[:, :1]).all()
    assert greys[0, 0] == 255
    assert greys[-1, 0] == 0
    assert (np.diff(greys[:, 0].astype(int)) < -30).all()
    assert (np.diff(lightness[0, 3:]) < -0.05).all(), "five skin tones from light to dark"
    assert (lightness[1, 1:] > lightness[3, 1:] + 0.2).all(), "the light row and the dark row"


def test_colours_of_the_builtin_palette_can_be_told_apart():
    lab = oklab.to_oklab(LINEWASH.rgb)
    distances = np.sqrt(((lab[:, None] - lab) ** 2).sum(axis=2)) + np.eye(32)
    assert distances.min() >= 0.055


def test_hues_of_the_builtin_palette_are_spread_evenly():
    vivid = LINEWASH.rgb[[17, 9, *range(18, 24)]]
    chroma, hue = oklab_hues(vivid)
    assert chroma.min() > 0.1
    assert np.abs(hue - (22.5 + 45 * np.arange(8))).max() < 11
    for first, last, column_hues in ((10, 15, hue[2:]), (25, 31, np.delete(hue, 1))):
        _, same_hue = oklab_hues(LINEWASH.rgb[first : last + 1])
        assert np.abs(same_hue - column_hues).max() < 16, "columns of one hue"


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ([], "linewash"),
        (["--palette", "linewash"], "linewash"),
        (["--palette", "grid"], "grid:3"),
        (["--num_values", "3"], "grid:3"),
        (["--palette", "grid", "--num-values", "4"], "grid:4"),
        (["--recipe", "article"], "grid:3"),
        (["--recipe", "article", "--num_values", "6"], "grid:6"),
        (["--recipe", "article", "--palette", "linewash"], "linewash"),
    ],
)
def test_the_flags_choose_the_palette(flags, name):
    recipe = options.parse(["--input", "photos", "--output", "dataset", *flags]).recipe
    assert recipe.known_palette.name == name
    assert recipe.resize == ("bilinear" if "article" in flags else "area")


def test_num_values_does_not_go_with_the_builtin_palette():
    with pytest.raises(options.UsageError, match="--palette is linewash: drop one"):
        options.parse(["--input", "x", "--output", "y", "--palette", "linewash", "--num_values", "3"])


def test_the_search_keeps_the_given_colours_and_lowers_the_cost():
    import design_palette

    pixels = np.random.default_rng(0).integers(60, 160, (300, 3), np.uint8)  # muted, like photographs
    start = design_palette.search(pixels, 1, seed=0)
    colors = design_palette.search(pixels, 100, seed=0)
    assert np.array_equal(colors, design_palette.search(pixels, 100, seed=0))
    assert design_palette.Cost(pixels, colors).value < design_palette.Cost(pixels, start).value
    assert tuple(map(tuple, colors[[0, 17, 24]].tolist())) == (
        (255, 255, 255),
        LINEWASH.colors[17],
        (0, 0, 0),
    )
