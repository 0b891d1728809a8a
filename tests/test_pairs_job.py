"""A dataset of pairs and of SVGs has the same bytes with any workers, from tars and after a crash."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from helper_jobs import file_contents, kill_after_a_receipt, preprocess, verify
from helper_pairs import document, make_pair, make_svg, write_pairs
from helper_photos import png

from preprocess import svg
from preprocess.recipe import Recipe
from preprocess.transform import transform
from tfrecords_schema import Manifest, decode_example, read_records, unpack_edges

COUNT = 24
ARGS = ["--lines", "drawn,borders", "--image_size", "64", "--num_shards", "6", "--val_fraction", "0.2"]
LAYOUTS = ("files", "side_by_side", "svg")


@pytest.fixture(scope="module")
def art(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same pictures in all layouts: `lines` and `color`, `both`, and `svg`, with some SVGZ."""
    root = tmp_path_factory.mktemp("art")
    write_pairs(root / "lines", root / "color", COUNT)
    for i in range(COUNT):
        both = png(np.concatenate(make_pair(i), axis=1))
        name, data = (
            (f"{i}.svg", make_svg(i)) if i % 4 else (f"{i}.svgz", gzip.compress(make_svg(i), mtime=0))
        )
        for path, content in (
            (root / f"both/n{i % 3}/{i}.png", both),
            (root / f"svg/n{i % 3}/{name}", data),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return root


def flags(root: Path, layout: str) -> list[str]:
    """Returns the flags for the pictures of a layout below `root`."""
    if layout == "files":
        return ["--input", str(root / "color"), "--drawings", str(root / "lines"), *ARGS]
    if layout == "svg":
        return ["--input", str(root / "svg"), *ARGS]
    return ["--input", str(root / "both"), "--side_by_side", "drawing,color", *ARGS]


def shards(root: Path) -> dict[str, bytes]:
    return {name: data for name, data in file_contents(root).items() if ".tfrecord" in name}


@pytest.fixture(scope="module", params=LAYOUTS)
def dataset(
    art: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> tuple[str, Path]:
    """A layout, and the dataset that one worker makes of it."""
    output = tmp_path_factory.mktemp("dataset") / "out"
    result = preprocess(*flags(art, request.param), "--output", output, "--direct_num_workers", 1)
    assert result.returncode == 0, result.stderr
    return request.param, output


def test_every_picture_is_a_record(dataset: tuple[str, Path]) -> None:
    manifest = Manifest.load(dataset[1])
    assert sum(split.examples for split in manifest.splits.values()) == COUNT
    assert all(min(split.edge_pixels) > 0 for split in manifest.splits.values())
    result = verify(dataset[1])
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "runner",
    [["--direct_num_workers", 2], ["--runner", "DirectRunner", "--direct_running_mode", "in_memory"]],
    ids=["workers", "runner"],
)
def test_workers_and_runner_do_not_change_the_bytes(
    dataset: tuple[str, Path], art: Path, tmp_path: Path, runner: list
) -> None:
    layout, expected = dataset
    result = preprocess(*flags(art, layout), "--output", tmp_path / "out", *runner)
    assert result.returncode == 0, result.stderr
    assert file_contents(tmp_path / "out") == file_contents(expected)


def test_class_tars_give_the_bytes_of_the_folder(
    dataset: tuple[str, Path], art: Path, tmp_path: Path
) -> None:
    layout, expected = dataset
    for folder in art.glob("*/n*"):
        path = tmp_path / folder.parent.name / f"{folder.name}.tar"
        path.parent.mkdir(exist_ok=True)
        with tarfile.open(path, "w") as archive:
            for file in sorted(folder.iterdir()):
                archive.add(file, file.name)
    result = preprocess(*flags(tmp_path, layout), "--output", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert shards(tmp_path / "out") == shards(expected)


@pytest.mark.slow
@pytest.mark.faults
def test_a_killed_job_is_continued_with_the_same_bytes(
    dataset: tuple[str, Path], art: Path, tmp_path: Path
) -> None:
    layout, expected = dataset
    arguments = [*flags(art, layout), "--output", str(tmp_path / "out")]
    kill_after_a_receipt(arguments, tmp_path / "out")
    result = preprocess(*arguments)
    assert result.returncode == 0, result.stderr
    assert file_contents(tmp_path / "out") == file_contents(expected)


# ---------------------------------------------------------------------------------------------- what fails


def rejects(output: Path) -> dict[str, str]:
    rows = map(json.loads, (output / "rejects.jsonl").read_text().splitlines())
    return {row["key"]: row["reason"] for row in rows}


def test_a_job_survives_hostile_svgs(tmp_path: Path) -> None:
    """Each is rejected with a reason or drawn without what it must not show, and the others are drawn."""
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(np.full((40, 60, 3), (40, 60, 220), np.uint8)))
    multiplied = "".join(
        f'<g id="a{i}">' + f'<use xlink:href="#a{i - 1}"/>' * 10 + "</g>" for i in range(1, 12)
    )
    entities = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 12))
    bomb = f'<!DOCTYPE svg [<!ENTITY e0 "aaaaaaaaaa">{entities}]>'.encode() + document("<text>&e11;</text>")
    red = '<path d="M10 10h20v20h-20z" fill="#e01010"/>'
    files = {
        "entities.svg": bomb,
        "uses.svg": document(f'<path id="a0" d="M0 0h9"/>{multiplied}'),
        "bomb.svgz": gzip.compress(b"<svg>" + b" " * (svg.MAX_BYTES + 1)),
        "text.svg": b"not a picture at all",
        "photo.svg": png(make_pair(30)[1]),
        "cut.svg": document(red)[:-9],
        "no-size.svg": document(red, ""),
        "image.svg": document(f'<image width="60" height="40" href="{secret}"/>{red}'),
        "script.svg": document(f"<script>document.rootElement.innerHTML = ''</script>{red}"),
        "giant.svg": document(
            '<path d="M20000 20000h40000v40000h-40000z" fill="#e01010"/>', 'width="100000" height="100000"'
        ),
        **{f"good{i}.svg": make_svg(i) for i in range(6)},
    }
    (tmp_path / "in/a").mkdir(parents=True)
    for name, data in files.items():
        (tmp_path / "in/a" / name).write_bytes(data)
    result = preprocess(
        "--input", tmp_path / "in", "--output", tmp_path / "out", "--lines", "drawn", "--image_size", "64",
        "--val_fraction", 0, "--num_shards", 1, "--max_reject_fraction", "0.6", "--direct_num_workers", 1,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert rejects(tmp_path / "out") == {
        "a/entities.svg": "corrupt",
        "a/uses.svg": "too_large",
        "a/bomb.svgz": "too_large",
        "a/text.svg": "format",
        "a/photo.svg": "no_drawing",
        "a/cut.svg": "corrupt",
        "a/no-size.svg": "no_size",
    }
    manifest = Manifest.load(tmp_path / "out")
    (shard,) = manifest.splits["train"].shards
    examples = [
        decode_example(r) for r in read_records(io.BytesIO((tmp_path / "out" / shard.name).read_bytes()))
    ]
    assert len(examples) == 9
    recipe = Recipe(image_size=64, lines=("drawn",))
    for key, packed, labels in examples:
        edges = unpack_edges(packed, 64, 1)
        assert edges.any()
        colors = np.array(manifest.palette.colors)[np.unique(np.frombuffer(labels, np.uint8))]
        if "good" not in key:  # white and red: nothing of the blue secret
            assert len(colors) == 2, key
            assert ((colors == 255).all(axis=1) | (colors[:, 0] > 2 * colors[:, 2])).all(), key
        expected, _ = transform(files[key.removeprefix("a/")], recipe)
        np.testing.assert_array_equal(edges, expected)
