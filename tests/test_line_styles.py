"""A job with several line styles gives the same bytes on any runner, from any source and after any crash."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import helper_photos
import numpy as np
import pytest
from helper_jobs import file_contents, kill_after_a_receipt, preprocess, verify

from preprocess.lines.styles import LINE_STYLES
from preprocess.recipe import Recipe
from preprocess.transform import transform
from tfrecords_schema import Manifest, decode_example, read_records, unpack_edges

# `drawn` needs images that have a drawing.
STYLES = tuple(name for name in LINE_STYLES if name != "drawn")
ARGS = ["--lines", ",".join(STYLES), "--image_size", "64", "--num_shards", "6", "--val_fraction", "0.2"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return helper_photos.make_image_folder(tmp_path_factory.mktemp("images"), 48)


@pytest.fixture(scope="module")
def dataset(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset that one worker makes of a folder."""
    output = tmp_path_factory.mktemp("dataset") / "out"
    result = preprocess("--input", images, "--output", output, *ARGS, "--direct_num_workers", 1)
    assert result.returncode == 0, result.stderr
    assert f"lines {', '.join(STYLES)}" in result.stdout
    return output


def shards(root: Path) -> dict[str, bytes]:
    return {name: data for name, data in file_contents(root).items() if ".tfrecord" in name}


def test_every_record_has_the_map_of_each_style(dataset: Path, images: Path) -> None:
    manifest = Manifest.load(dataset)
    assert tuple(manifest.lines) == tuple(manifest.recipe["lines"]) == STYLES
    recipe = Recipe(image_size=64, palette=manifest.palette, lines=STYLES)
    for split in manifest.splits.values():
        edge_pixels = np.zeros(len(STYLES), int)
        for shard in split.shards:
            for record in read_records(io.BytesIO((dataset / shard.name).read_bytes())):
                key, packed, _ = decode_example(record)
                edges = unpack_edges(packed, 64, len(STYLES))
                np.testing.assert_array_equal(edges, transform((images / key).read_bytes(), recipe)[0])
                edge_pixels += edges.sum(axis=(1, 2), dtype=int)
        assert split.edge_pixels == edge_pixels.tolist()
    result = verify(dataset)
    assert result.returncode == 0, result.stderr


def test_the_map_of_a_style_does_not_depend_on_the_others(images: Path) -> None:
    data = next(images.rglob("*.JPEG")).read_bytes()
    together, labels = transform(data, Recipe(image_size=64, lines=STYLES))
    for name, edges in zip(STYLES, together, strict=True):
        alone, same_labels = transform(data, Recipe(image_size=64, lines=(name,)))
        np.testing.assert_array_equal(alone[0], edges)
        np.testing.assert_array_equal(same_labels, labels)
    backwards, _ = transform(data, Recipe(image_size=64, lines=STYLES[::-1]))
    np.testing.assert_array_equal(backwards[::-1], together)


@pytest.mark.parametrize(
    "flags",
    [
        ["--direct_num_workers", 3],
        ["--runner", "DirectRunner", "--direct_running_mode", "in_memory"],
    ],
    ids=["workers", "runner"],
)
def test_workers_and_runner_do_not_change_the_bytes(
    dataset: Path, images: Path, tmp_path: Path, flags: list[str]
) -> None:
    result = preprocess("--input", images, "--output", tmp_path / "out", *ARGS, *flags)
    assert result.returncode == 0, result.stderr
    assert file_contents(tmp_path / "out") == file_contents(dataset)


def test_class_tars_give_the_bytes_of_the_folder(dataset: Path, images: Path, tmp_path: Path) -> None:
    (tmp_path / "tars").mkdir()
    for folder in images.iterdir():
        with tarfile.open(tmp_path / "tars" / f"{folder.name}.tar", "w") as archive:
            for path in sorted(folder.iterdir()):
                archive.add(path, path.name)
    result = preprocess("--input", tmp_path / "tars", "--output", tmp_path / "out", *ARGS)
    assert result.returncode == 0, result.stderr
    assert shards(tmp_path / "out") == shards(dataset)


@pytest.mark.faults
def test_a_killed_job_is_continued_with_the_same_bytes(dataset: Path, images: Path, tmp_path: Path) -> None:
    arguments = ["--input", str(images), "--output", str(tmp_path / "out"), *ARGS]
    kill_after_a_receipt(arguments, tmp_path / "out")
    result = preprocess(*arguments)
    assert result.returncode == 0, result.stderr
    assert file_contents(tmp_path / "out") == file_contents(dataset)


def test_other_line_styles_are_refused_in_the_same_directory(dataset: Path, images: Path) -> None:
    arguments = ["--input", images, "--output", dataset, *ARGS[2:]]
    result = preprocess(*arguments, "--lines", *STYLES[::-1], "--fit", "crop")
    assert result.returncode == 2
    assert "give another --output" in result.stderr
    if len(STYLES) > 1:
        assert f"lines {list(STYLES)} (now {list(STYLES[::-1])})" in result.stderr
