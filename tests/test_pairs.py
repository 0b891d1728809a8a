"""Drawings and their colourings: which files make a pair, and what the labels and lines of a pair are."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import cv2
import helper_pairs
import numpy as np
import pytest
from helper_jobs import assert_one_sentence, preprocess
from helper_pairs import BLACK, PEN, WHITE, make_pair, make_svg, write_pairs
from helper_photos import jpeg, make_image, make_image_folder, png, raw_png
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from preprocess.lines.drawn import find_lines, resize_lines
from preprocess.pixels import read_pixels
from preprocess.plan import Sharding, make_plan, read_shard_list
from preprocess.posterize import to_labels
from preprocess.recipe import LINEWASH, Recipe
from preprocess.rejects import Rejected
from preprocess.sources import SourceError, images
from preprocess.transform import transform
from tfrecords_schema import Manifest, decode_example, read_records, unpack_edges

SIZE = 64
FILES = Recipe(image_size=SIZE, lines=("drawn", "borders"), pairs="files")
DRAWN = ["--lines", "drawn", "--image_size", SIZE]


def reject(convert: Callable[[], object]) -> Rejected:
    """Returns the reject that `convert` raises, whose detail is one sentence."""
    with pytest.raises(Rejected) as error:
        convert()
    assert error.value.detail
    assert "\n" not in error.value.detail
    return error.value


def label_of(color: tuple[int, ...]) -> int:
    return int(to_labels(np.full((1, 1, 3), color, np.uint8), LINEWASH)[0, 0])


# ------------------------------------------------------------------------------------------------- pixels


@settings(max_examples=40, deadline=None)
@given(
    colors=st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=4),
    seed=st.integers(0, 99),
    size=st.sampled_from([64, 128]),
)
def test_labels_of_a_pair_are_flats(colors: list[tuple[int, ...]], seed: int, size: int) -> None:
    """No label is that of the ink or of its rim: every one is the label of a colour in the picture."""
    drawing, color = (np.full((200, 240, 3), 255, np.uint8) for _ in range(2))
    for (center, radius, _), fill in zip(helper_pairs.discs(seed, 200, 240), colors, strict=False):
        for image, inside in ((drawing, WHITE), (color, fill)):
            cv2.circle(image, center, radius, inside, -1, cv2.LINE_AA)
            cv2.circle(image, center, radius, BLACK, PEN, cv2.LINE_AA)
    recipe = Recipe(image_size=size, lines=("drawn",), pairs="files", min_colored=0)
    edges, labels = transform(png(color), recipe, png(drawing))
    assert edges.any()
    assert set(np.unique(labels).tolist()) <= {label_of(WHITE), *map(label_of, colors)}


def test_an_area_of_ink_keeps_its_label_without_a_soft_rim() -> None:
    drawing, color = (np.full((200, 200, 3), 255, np.uint8) for _ in range(2))
    for image in (drawing, color):
        cv2.circle(image, (60, 100), 30, BLACK, -1, cv2.LINE_AA)
        cv2.circle(image, (150, 100), 30, BLACK, PEN, cv2.LINE_AA)
    cv2.circle(color, (150, 100), 28, (230, 30, 30), -1, cv2.LINE_AA)
    _, labels = transform(png(color), FILES, png(drawing))
    assert labels[32, 19] == label_of(BLACK)
    assert labels[32, 48] == label_of((230, 30, 30))
    assert np.mean(labels == label_of(BLACK)) == pytest.approx(np.pi * 30**2 / 200**2, rel=0.15)
    assert set(np.unique(labels).tolist()) == {label_of(c) for c in (WHITE, BLACK, (230, 30, 30))}


def test_colors_of_a_pair_are_not_stretched() -> None:
    drawing, color = make_pair(3)
    color = np.uint8(color // 2 + 60)  # 60..187
    rgb = read_pixels(png(color), FILES, png(drawing)).rgb
    assert rgb.min() >= 60
    assert rgb.max() == 187


@pytest.mark.parametrize("width", [240, 241])
def test_either_half_may_be_the_drawing(width: int) -> None:
    drawing, color = make_pair(1)
    expected = transform(png(color), FILES, png(drawing))
    gap = np.full((200, width - 240, 3), (255, 0, 255), np.uint8)  # the middle column of an odd width
    for pairs, halves in (("drawing,color", (drawing, color)), ("color,drawing", (color, drawing))):
        both = np.concatenate([halves[0], gap, halves[1]], axis=1)
        recipe = Recipe(image_size=SIZE, lines=FILES.lines, pairs=pairs)  # type: ignore[arg-type]
        for made, wanted in zip(transform(png(both), recipe), expected, strict=True):
            np.testing.assert_array_equal(made, wanted)


def test_a_half_may_be_too_small() -> None:
    recipe = Recipe(image_size=SIZE, pairs="drawing,color")
    narrow = png(make_image(1, 100, 2 * SIZE - 1))
    assert reject(lambda: transform(narrow, recipe)).reason == "too_small"


@pytest.mark.parametrize("size", [(100, 120), (400, 480), (1000, 1200), (203, 240)])
def test_the_drawing_may_be_of_another_size(size: tuple[int, int]) -> None:
    drawing, color = make_pair(2)
    resized = cv2.resize(drawing, size[::-1], interpolation=cv2.INTER_AREA)
    edges, labels = transform(png(color), FILES, png(resized))
    same_edges, same_labels = transform(png(color), FILES, png(drawing))
    near = cv2.dilate(same_edges[0], np.ones((5, 5), np.uint8))
    assert edges[0].sum() > 0.7 * same_edges[0].sum()
    assert near[edges[0] == 1].mean() > 0.95
    assert np.mean(labels == same_labels) > 0.95


@pytest.mark.parametrize("size", [(200, 200), (240, 200), (100, 600)])
def test_another_aspect_is_a_reject(size: tuple[int, int]) -> None:
    drawing, color = make_pair(2)
    error = reject(lambda: transform(png(color), FILES, png(cv2.resize(drawing, size[::-1]))))
    assert error.reason == "aspect"
    assert "240x200" in error.detail
    assert f"{size[1]}x{size[0]}" in error.detail


@pytest.mark.parametrize("fit", ["squash", "crop"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["svg", "svgz"])
def test_an_svg_is_its_own_drawing(fit: str, pack: Callable[[bytes], bytes]) -> None:
    recipe = Recipe(image_size=SIZE, lines=("drawn",), fit=fit)  # type: ignore[arg-type]
    edges, labels = transform(pack(make_svg(1)), recipe)
    drawing, color = make_pair(1)
    pair = Recipe(image_size=SIZE, lines=("drawn",), pairs="files", fit=fit)  # type: ignore[arg-type]
    expected_edges, expected_labels = transform(png(color), pair, png(drawing))
    near = cv2.dilate(expected_edges[0], np.ones((5, 5), np.uint8))
    assert near[edges[0] == 1].mean() > 0.95
    assert np.mean(labels == expected_labels) > 0.95


def test_svgs_may_be_the_halves_of_a_pair() -> None:
    drawing, color = make_pair(1)
    outlines = make_svg(1).replace(b'fill="rgb', b'fill="#fff" data-fill="rgb')
    for colors, lines in ((make_svg(1), png(drawing)), (png(color), outlines), (make_svg(1), outlines)):
        edges, labels = transform(colors, FILES, lines)
        expected_edges, expected_labels = transform(png(color), FILES, png(drawing))
        near = cv2.dilate(expected_edges[0], np.ones((5, 5), np.uint8))
        assert near[edges[0] == 1].mean() > 0.95
        assert np.mean(labels == expected_labels) > 0.95


def test_the_drawing_is_read_by_the_code_that_reads_a_page() -> None:
    drawing, color = make_pair(5, 512, 512)
    edges, _ = transform(png(color), FILES, png(drawing))
    lines, _ = find_lines(drawing, True)
    np.testing.assert_array_equal(edges[0], resize_lines(lines, SIZE, SIZE))


def test_light_lines_on_black_are_read_like_dark_ones() -> None:
    drawing, color = make_pair(4)
    edges, _ = transform(png(color), FILES, png(255 - drawing))
    expected, _ = transform(png(color), FILES, png(drawing))
    np.testing.assert_array_equal(edges[0], expected[0])


def test_a_cmyk_colouring_is_read_in_its_colours() -> None:
    drawing, color = make_pair(1)
    buffer = io.BytesIO()
    Image.fromarray(color).convert("CMYK").save(buffer, "JPEG", quality=95)
    _, labels = transform(buffer.getvalue(), FILES, png(drawing))
    _, expected = transform(png(color), FILES, png(drawing))
    assert np.mean(labels == expected) > 0.9


def with_alpha(rgb: np.ndarray, alpha: np.ndarray) -> bytes:
    return raw_png(np.dstack([rgb, alpha]), 8, 6)


def test_transparent_paper_is_white() -> None:
    drawing, color = make_pair(1)
    black_paper, paper = color.copy(), (color == 255).all(axis=2)
    black_paper[paper] = 0
    rgb = read_pixels(with_alpha(black_paper, np.uint8(255 * ~paper)), FILES, png(drawing)).rgb
    np.testing.assert_array_equal(rgb, read_pixels(png(color), FILES, png(drawing)).rgb)


def test_a_drawing_may_be_all_in_its_alpha() -> None:
    """Ink layers of paint programs are black everywhere; only their alpha shows the lines."""
    drawing, color = make_pair(1)
    ink = with_alpha(np.zeros_like(drawing), 255 - drawing[..., 0])
    for made, wanted in zip(
        transform(png(color), FILES, ink), transform(png(color), FILES, png(drawing)), strict=True
    ):
        np.testing.assert_array_equal(made, wanted)


DRAWING, COLOR = make_pair(1)
NOTHING = np.zeros(DRAWING.shape[:2], np.uint8)
BAD_PAIRS = {
    "drawing all ink": (png(COLOR), png(np.zeros_like(DRAWING)), "no_lines"),
    "empty drawing": (png(COLOR), png(np.full_like(DRAWING, 255)), "no_lines"),
    "transparent drawing": (png(COLOR), with_alpha(DRAWING, NOTHING), "no_lines"),
    "transparent colouring": (with_alpha(COLOR, NOTHING), png(DRAWING), "constant"),
    "colouring of one colour": (png(np.full_like(COLOR, (200, 30, 30))), png(DRAWING), "constant"),
    "grey": (png(np.repeat(COLOR.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)), png(DRAWING),
             "colorless"),
    "drawing as colouring": (png(DRAWING), png(DRAWING), "colorless"),
    "small drawing": (png(COLOR), png(cv2.resize(DRAWING, (48, 40))), "too_small"),
    "damaged drawing": (png(COLOR), png(DRAWING)[:-2000], "corrupt"),
    "no drawing at all": (png(COLOR), b"not a picture", "format"),
    "empty file": (png(COLOR), b"", "empty"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_PAIRS)
def test_a_bad_pair_is_rejected_with_a_reason(name: str) -> None:
    color, drawing, reason = BAD_PAIRS[name]
    assert reject(lambda: transform(color, FILES, drawing)).reason == reason


def test_colorless_art_may_be_kept_and_photographs_are() -> None:
    grey = png(np.repeat(COLOR.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2))
    kept = Recipe(image_size=SIZE, lines=("drawn",), pairs="files", min_colored=0)
    assert transform(grey, kept, png(DRAWING))[0].any()
    assert transform(grey, Recipe(image_size=SIZE))[0].any()
    strict = Recipe(image_size=SIZE, min_colored=0.02)
    assert reject(lambda: transform(grey, strict)).reason == "colorless"
    black = make_svg(1).replace(b"fill", b"data-fill")
    assert reject(lambda: transform(black, Recipe(image_size=SIZE))).reason == "colorless"


def test_a_photograph_has_no_drawn_lines() -> None:
    error = reject(lambda: transform(jpeg(make_image(1)), Recipe(image_size=SIZE, lines=("drawn",))))
    assert error.reason == "no_drawing"


# ---------------------------------------------------------------------------------- which files are pairs


def write_files(root: Path, *names: str) -> Path:
    """Writes empty files, which are never read."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def plan(output: Path, colors: list[object], drawings: list[object], **layout: object) -> dict[str, str]:
    """Returns for each key the path of its drawing, or the reason why it is rejected."""
    paths = [str(path) for path in colors], [str(path) for path in drawings]
    found = (images(patterns, str(output), stem_prefixes=[""] * len(patterns)) for patterns in paths)
    sharding = Sharding(**{"val_fraction": 0, **layout})  # type: ignore[arg-type]
    output.mkdir(exist_ok=True)
    colored, drawn = found
    shards = make_plan(colored, sharding, str(output), drawings=drawn)
    listed = [image for shard in shards for image in read_shard_list(shard.list_path)]
    return {
        image.key: image.drawing.path if image.drawing else image.fault.partition(":")[0] for image in listed
    }


def test_pairs_have_the_same_path_but_for_the_extension(tmp_path: Path) -> None:
    color = write_files(tmp_path / "color", "a/1.png", "a/2.JPEG", "b/1.png", "b/3.svg", "b/4.png")
    lines = write_files(tmp_path / "lines", "a/1.jpg", "a/2.png", "b/1.svg", "b/3.png", "b/5.png", "c/1.png")
    assert plan(tmp_path / "out", [color], [lines]) == {
        "a/1.png": f"{lines}/a/1.jpg",
        "a/2.JPEG": f"{lines}/a/2.png",
        "b/1.png": f"{lines}/b/1.svg",
        "b/3.svg": f"{lines}/b/3.png",
        "b/4.png": "no_drawing",
        "b/5.png": "no_color",
        "c/1.png": "no_color",
    }


def test_globs_find_pairs(tmp_path: Path) -> None:
    root = write_files(
        tmp_path / "art", "x/gt/1.png", "x/line/1.png", "y/gt/1.png", "y/line/1.jpg", "y/line/2.jpg"
    )
    assert plan(tmp_path / "out", [f"{root}/*/gt"], [f"{root}/*/line"]) == {
        "x/gt/1.png": f"{root}/x/line/1.png",
        "y/gt/1.png": f"{root}/y/line/1.jpg",
        "y/line/2.jpg": "no_color",
    }
    flat = write_files(tmp_path / "flat", "1_color.png", "1_line.png", "2_color.png")
    assert plan(tmp_path / "out", [f"{flat}/*_color.png"], [f"{flat}/*_line.png"]) == {
        "flat/1_color.png": f"{flat}/1_line.png",
        "flat/2_color.png": "no_drawing",
    }


def test_a_pair_in_tars_is_that_of_the_folders(tmp_path: Path) -> None:
    write_pairs(tmp_path / "lines", tmp_path / "color", 6)
    (tmp_path / "color/n0/lonely.png").write_bytes(png(COLOR))
    (tmp_path / "lines/n1/lonely.png").write_bytes(png(DRAWING))
    expected = plan(tmp_path / "out", [tmp_path / "color"], [tmp_path / "lines"])
    for name in ("color", "lines"):
        (tmp_path / f"{name}_tars").mkdir()
        for folder in (tmp_path / name).iterdir():
            with tarfile.open(tmp_path / f"{name}_tars" / f"{folder.name}.tar", "w") as archive:
                archive.add(folder, ".")
    tars = plan(tmp_path / "tars", [tmp_path / "color_tars"], [tmp_path / "lines_tars"])
    mixed = plan(tmp_path / "mixed", [tmp_path / "color"], [tmp_path / "lines_tars"])
    assert tars == mixed
    assert tars.keys() == expected.keys()
    for key, drawing in expected.items():
        if drawing in ("no_drawing", "no_color"):
            assert tars[key] == drawing
        else:
            assert tars[key] == str(tmp_path / f"lines_tars/{key.split('/')[0]}.tar")
    assert sorted(set(expected.values()) & {"no_drawing", "no_color"}) == ["no_color", "no_drawing"]


def test_two_drawings_of_one_image_are_refused(tmp_path: Path) -> None:
    color = write_files(tmp_path / "color", "a/1.png", "a/2.png")
    lines = write_files(tmp_path / "lines", "a/1.png", "a/1.jpg", "a/2.png")
    with pytest.raises(SourceError, match=r"two drawings .*a/1.*1.jpg.*1.png") as error:
        plan(tmp_path / "out", [color], [lines])
    assert "\n" not in str(error.value)
    with pytest.raises(SourceError, match=r"two images of --input .*a/1"):
        plan(tmp_path / "out", [lines], [color])


def test_names_that_never_meet_are_explained(tmp_path: Path) -> None:
    color = write_files(tmp_path / "color", "a/1.png")
    lines = write_files(tmp_path / "lines", "b/1.png")
    with pytest.raises(SourceError, match=r"the first image is a/1, and the first drawing is b/1"):
        plan(tmp_path / "out", [color], [lines])


def test_halves_of_one_name_in_different_places_are_both_listed(tmp_path: Path) -> None:
    folders = {
        "color1": ("a/1.png", "a/x.png"), "lines1": ("a/1.png", "a/y.png"),
        "color2": ("a/2.png",), "lines2": ("a/2.png", "a/x.png", "a/y.png"),
    }  # fmt: skip
    for name, pictures in folders.items():
        for picture in pictures:
            image = make_pair(1)[name.startswith("color")]
            (tmp_path / name / picture).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / picture).write_bytes(png(image))
    result = preprocess(
        "--input", tmp_path / "color1", tmp_path / "color2",
        "--drawings", tmp_path / "lines1", tmp_path / "lines2",
        "--output", tmp_path / "out", "--val_fraction", 0, "--max_reject_fraction", 1, *DRAWN,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert set(records(tmp_path / "out")) == {"a/1.png", "a/2.png"}
    assert rejects(tmp_path / "out") == {
        "a/x.png": "no_drawing",
        "lines2/a/x.png": "no_color",
        "lines1/a/y.png": "no_color",
        "lines2/a/y.png": "no_color",
    }


def test_split_folders_may_hold_pairs(tmp_path: Path) -> None:
    names = ("train/a/1.png", "train/a/2.png", "val/a/1.png")
    color = write_files(tmp_path / "color", *names)
    lines = write_files(tmp_path / "lines", *names, "val/a/3.png")
    output = tmp_path / "out"
    assert plan(output, [color], [lines], split_by="folder").keys() == {"a/1.png", "a/2.png", "a/3.png"}
    val = [read_shard_list(str(path)) for path in output.glob(".work/plan/val-*")]
    assert {image.key: image.drawing.path if image.drawing else image.fault for shard in val
            for image in shard} == {
        "a/1.png": f"{lines}/val/a/1.png", "a/3.png": "no_color: a drawing without its colouring",
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------ commands


def rejects(output: Path) -> dict[str, str]:
    lines = (output / "rejects.jsonl").read_text().splitlines()
    return {row["key"]: row["reason"] for row in map(json.loads, lines)}


def records(output: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns the edges and labels of each key."""
    manifest = Manifest.load(output)
    size = manifest.image_size
    examples = {}
    for split in manifest.splits.values():
        for shard in split.shards:
            for record in read_records(io.BytesIO((output / shard.name).read_bytes())):
                key, packed, labels = decode_example(record)
                edges = unpack_edges(packed, size, len(manifest.lines))
                examples[key] = edges, np.frombuffer(labels, np.uint8).reshape(size, size)
    return examples


@pytest.fixture(scope="module")
def art(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawings and their colourings, of which two have no other half."""
    root = tmp_path_factory.mktemp("art")
    write_pairs(root / "lines", root / "color", 12)
    (root / "color/n0/lonely.png").write_bytes(png(make_pair(20)[1]))
    (root / "lines/n1/lonely.png").write_bytes(png(make_pair(21)[0]))
    return root


def test_a_job_lists_what_has_no_other_half(art: Path, tmp_path: Path) -> None:
    arguments = ["--input", art / "color", "--drawings", art / "lines", "--output", tmp_path / "out", *DRAWN]
    arguments += ["--val_fraction", "0.2"]
    result = preprocess(*arguments)
    assert result.returncode == 1  # 2 of 14 are too many
    assert "--max_reject_fraction" in result.stderr
    result = preprocess(*arguments, "--max_reject_fraction", "0.2")
    assert result.returncode == 0, result.stderr
    assert rejects(tmp_path / "out") == {"n0/lonely.png": "no_drawing", "n1/lonely.png": "no_color"}
    examples = records(tmp_path / "out")
    assert len(examples) == 12
    recipe = Recipe(image_size=SIZE, lines=("drawn",), pairs="files")
    for key, example in examples.items():
        wanted = transform((art / "color" / key).read_bytes(), recipe, (art / "lines" / key).read_bytes())
        for made, expected in zip(example, wanted, strict=True):
            np.testing.assert_array_equal(made, expected)


def test_classes_count_for_both_halves(art: Path, tmp_path: Path) -> None:
    result = preprocess(
        "--input", art / "color", "--drawings", art / "lines", "--output", tmp_path / "out", *DRAWN,
        "--classes", "n1,n2", "--val_fraction", 0, "--max_reject_fraction", "0.2",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert {key.split("/")[0] for key in records(tmp_path / "out")} == {"n1", "n2"}
    assert rejects(tmp_path / "out") == {"n1/lonely.png": "no_color"}


def test_train_and_val_inputs_have_their_own_drawings(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_pairs(tmp_path / f"{split}_lines", tmp_path / split, 3)
    arguments = ["--train_input", tmp_path / "train", "--val_input", tmp_path / "val", *DRAWN]
    both = ["--drawings", tmp_path / "train_lines", tmp_path / "val_lines"]
    result = preprocess(*arguments, *both, "--output", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    splits = Manifest.load(tmp_path / "out").splits
    assert {name: split.examples for name, split in splits.items()} == {"train": 3, "val": 3}


@pytest.mark.parametrize(
    ("flags", "code", "parts"),
    [
        (["--drawings", "missing"], 2, ["missing", "matches nothing"]),
        (["--drawings", "missing/*.png"], 2, ["missing/*.png", "matches nothing"]),
        (["--drawings", ""], 2, ["--drawings is empty"]),
        (["--drawings", "a", "--side_by_side", "drawing,color"], 2, ["--drawings", "--side_by_side"]),
        (["--side_by_side", "color"], 2, ["--side_by_side", "drawing,color"]),
        (["--min_colored", "2"], 2, ["--min_colored", "0 to 1"]),
    ],
)
def test_wrong_flags_get_one_sentence(
    art: Path, tmp_path: Path, flags: list[str], code: int, parts: list[str]
) -> None:
    flags = [str(tmp_path / flag) if "missing" in flag else flag for flag in flags]
    result = preprocess("--input", art / "color", "--output", tmp_path / "out", *flags)
    assert_one_sentence(result, code, *parts)
    if any("missing" in flag for flag in flags):
        assert "--input" not in result.stderr


def test_photographs_and_svgs_are_mixed_and_drawn_leaves_photographs_out(tmp_path: Path) -> None:
    make_image_folder(tmp_path / "in", 6)
    for i in range(6):
        (tmp_path / "in" / f"{i}.svg").write_bytes(make_svg(i))
    (tmp_path / "in" / "packed.svgz").write_bytes(gzip.compress(make_svg(7)))
    arguments = ["--input", tmp_path / "in", "--val_fraction", 0, "--image_size", SIZE]
    result = preprocess(*arguments, "--output", tmp_path / "canny", "--num_shards", 1)
    assert result.returncode == 0, result.stderr
    assert len(records(tmp_path / "canny")) == 13
    accept = ["--max_reject_fraction", "0.5", "--num_shards", 1]
    result = preprocess(*arguments, "--lines", "drawn", "--output", tmp_path / "drawn", *accept)
    assert result.returncode == 0, result.stderr
    assert set(rejects(tmp_path / "drawn").values()) == {"no_drawing"}
    assert len(rejects(tmp_path / "drawn")) == 6
    assert len(records(tmp_path / "drawn")) == 7
