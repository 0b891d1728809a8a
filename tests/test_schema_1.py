"""A dataset of schema version 1 is read, verified, shown and trained on like one of version 2.

The dataset in testdata/schema_1 was written by linewash before schema version 2, from the images of
`helper_photos.make_image_folder(…, 12)`, with `--image_size 16 --palette grid --num_shards 2` and
`--val_fraction 0.3`.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import helper_photos
import inspect_shards
import pytest
from helper_commands import run_main
from helper_jobs import verify

import tfrecords_schema as schema
from preprocess import sources
from preprocess.plan import Sharding, make_plan
from preprocess.recipe import Recipe
from preprocess.shard_writer import write_shard
from tfrecords_schema import Manifest, SchemaError, ShardReceipt
from training.data.dataset import ShardedDataset
from training.errors import UsageError

DATASET = Path(__file__).parent / "testdata" / "schema_1"
TRAIN_SHARDS = [f"train/train-0000{i}-of-00002.tfrecord" for i in (0, 1)]
RECEIPT = "receipts/train-00000-of-00002.json"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATASET, tmp_path / "dataset"))


def read_shard(name: str) -> list[tuple[str, bytes, bytes]]:
    with (DATASET / name).open("rb") as file:
        return [schema.decode_example(record) for record in schema.read_records(file)]


def test_the_manifest_and_the_receipts_are_converted() -> None:
    written = json.loads((DATASET / "manifest.json").read_bytes())
    manifest = Manifest.load(DATASET)
    assert (written["schema_version"], manifest.schema_version) == (1, 2)
    assert manifest.lines == ["canny"]
    assert manifest.splits["train"].edge_pixels == [written["splits"]["train"]["edge_pixels"]] == [360]
    assert manifest.splits["val"].edge_pixels == [written["splits"]["val"]["edge_pixels"]]
    assert Manifest.from_json(manifest.to_json()) == manifest
    receipt = ShardReceipt.from_json((DATASET / RECEIPT).read_bytes(), RECEIPT)
    assert receipt.edge_pixels == [116]
    assert ShardReceipt.from_json(receipt.to_json(), RECEIPT) == receipt


def test_every_example_is_read() -> None:
    expected = [(edges, labels) for name in TRAIN_SHARDS for _, edges, labels in read_shard(name)]
    dataset = ShardedDataset.open(str(DATASET))
    for batches in (dataset.eval("train", 3), dataset.train(3, seed=1, epoch=2)):
        rows = [
            row for edges, labels, _ in batches for row in zip(edges.numpy(), labels.numpy(), strict=True)
        ]
        assert sorted((edges.tobytes(), labels.tobytes()) for edges, labels in rows) == sorted(expected)


def test_it_is_verified_and_shown(dataset: Path, tmp_path: Path) -> None:
    result = verify(dataset)
    assert result.returncode == 0, result.stderr
    assert "12 examples" in result.stdout
    result = run_main(inspect_shards.main, dataset, "-o", tmp_path / "sheet.png")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", ["manifest.json", RECEIPT])
def test_wrong_edge_pixels_are_found(dataset: Path, name: str) -> None:
    content = json.loads((dataset / name).read_bytes())
    (content["splits"]["train"] if "splits" in content else content)["edge_pixels"] += 1
    (dataset / name).write_text(json.dumps(content))
    result = verify(dataset)
    assert result.returncode == 1
    assert "edge_pixels" in result.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lines": ["canny"]}, "schema version 1 has no line styles"),
        ({"splits": 3}, "Expected `object`"),
        ({"splits": {"train": 3}}, "Expected `object`"),
        ({"splits": {"train": {}}}, "missing required field"),
        ({"image_size": "16"}, "Expected `int`, got `str`"),
    ],
)
def test_a_damaged_manifest_is_refused(dataset: Path, changes: dict[str, object], message: str) -> None:
    path = dataset / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | changes))
    with pytest.raises(SchemaError, match=message):
        Manifest.load(dataset)
    with pytest.raises(UsageError, match=r"manifest\.json: "):
        ShardedDataset.open(str(dataset))


def test_edge_pixels_of_version_2_are_refused_in_version_1() -> None:
    receipt = json.loads((DATASET / RECEIPT).read_bytes()) | {"edge_pixels": [116]}
    with pytest.raises(SchemaError, match="Expected `int`, got `array`"):
        ShardReceipt.from_json(json.dumps(receipt).encode(), RECEIPT)


def test_shards_with_the_style_canny_have_the_bytes_of_version_1(tmp_path: Path) -> None:
    images = helper_photos.make_image_folder(tmp_path / "photos", 12)
    recipe, output = Recipe(image_size=16, palette=schema.Palette.grid(3)), str(tmp_path / "out")
    sharding = Sharding(num_shards=2, val_fraction=0.3)
    shards = make_plan(sources.images([str(images)], output), sharding, output)
    for shard in shards:
        write_shard(shard, recipe, "none", output)
        assert (tmp_path / "out" / shard.name).read_bytes() == (DATASET / shard.name).read_bytes()
    assert len(shards) == 3
