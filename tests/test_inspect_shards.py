"""Drawing contact sheets through the command."""

from functools import partial

import helper_photos
import inspect_shards
import numpy as np
import pytest
from helper_commands import run_main, run_script
from PIL import Image

from preprocess import receipts, sources
from preprocess.plan import Sharding, make_plan
from preprocess.recipe import Recipe
from preprocess.shard_writer import write_shard
from tfrecords_schema import Manifest

inspect = partial(run_main, inspect_shards.main)


@pytest.fixture(scope="module", params=["none", "gzip"])
def dataset(request, tmp_path_factory):
    """A small dataset made with the job's functions, without a runner."""
    root = tmp_path_factory.mktemp(request.param)
    helper_photos.make_image_folder(root / "images", 20)
    layout, recipe = Sharding(val_fraction=0.3, compression=request.param), Recipe(image_size=64)
    for shard in make_plan(
        sources.images([str(root / "images")], str(root / "out")), layout, str(root / "out")
    ):
        write_shard(shard, recipe, layout.compression, str(root / "out"))
    receipts.write_manifest(str(root / "out"), receipts.load(str(root / "out")), recipe, layout, ["images"])
    return root / "out"


def test_a_sheet_shows_palette_and_examples(dataset, tmp_path):
    argv = (dataset, "--output", tmp_path / "made/sheet.png", "--count", 4, "--columns", 2)
    result = run_script("inspect_shards.py", *argv)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"4 examples of {dataset} in {tmp_path / 'made/sheet.png'}\n"
    pixels = np.array(Image.open(tmp_path / "made/sheet.png").convert("RGB")).reshape(-1, 3)
    colours = set(map(tuple, np.unique(pixels, axis=0).tolist()))
    assert set(Manifest.load(dataset).palette.colors) < colours


@pytest.mark.parametrize("num_lines", [1, 3])
def test_each_line_style_has_a_row_beside_the_colouring(tiny_dataset, tmp_path, num_lines):
    """The drawing of each style is beside the colours; of several, each has its name as a caption."""
    root = tiny_dataset(lines=("canny", "xdog", "borders")[:num_lines], size=64)
    argv = (root, "--output", tmp_path / "sheet.png", "--count", 2, "--columns", 1)
    result = inspect(*argv)
    assert result.returncode == 0, result.stderr
    sheet = np.array(Image.open(tmp_path / "sheet.png").convert("RGB"))
    tile, block, top = 192, num_lines * 194 + 28, 112
    assert sheet.shape[0] == top + 2 * block + inspect_shards.GAP
    left, caption = inspect_shards.GAP, 24  # px
    for number in range(num_lines):
        row = sheet[top + number * (tile + 2) :][:tile]
        drawing, coloring = row[:, left : left + tile], row[:, left + tile + 2 :][:, :tile]
        assert np.array_equal(coloring, sheet[top : top + tile, left + tile + 2 :][:, :tile])
        # A style of these datasets is the first one, moved down by a pixel of the map, three of the sheet.
        first = sheet[top : top + tile, left : left + tile]
        expected = np.roll(first, 3 * number, axis=0)[caption + 3 * number :]
        assert np.array_equal(drawing[caption + 3 * number :], expected)
        is_text = ~np.isin(drawing[:caption, :80], [0, 255])  # lines are black on white
        assert is_text.any() == (num_lines > 1)


def test_a_key_selects_its_example(dataset, tmp_path):
    result = inspect(dataset, "--output", tmp_path / "sheet.png", "--key", "n00000001/n00000001_1.JPEG")
    assert result.stdout.startswith("1 examples")


@pytest.mark.parametrize(
    ("change", "args", "message"),
    [
        (None, ["--key", "nobody"], "has no key nobody"),
        ("no manifest", [], "no manifest.json in"),
        ("cut shard", [], "inspect_shards: "),
    ],
)
def test_each_fault_is_one_sentence(dataset, tmp_path, change, args, message):
    for path in dataset.rglob("*"):
        if path.is_file() and not (change == "no manifest" and path.name == "manifest.json"):
            data = path.read_bytes()
            copy = tmp_path / "copy" / path.relative_to(dataset)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(
                data[: len(data) // 2] if change == "cut shard" and "tfrecord" in path.name else data
            )
    result = inspect(tmp_path / "copy", "--output", tmp_path / "sheet.png", *args)
    assert result.returncode == (2 if change == "no manifest" else 1)
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "sheet.png").exists()
