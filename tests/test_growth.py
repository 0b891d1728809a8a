"""Memory of a job and of its verification does not grow with shards × colours, nor with shards²."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import helper_photos
import numpy as np
import pytest
import verify_shards

from preprocess import receipts
from preprocess.plan import Sharding, make_plan
from preprocess.recipe import Recipe
from preprocess.shard_writer import write_shard
from preprocess.sources import images
from preprocess.storage import files
from tfrecords_schema import SCHEMA_VERSION, Manifest, Palette, ShardInfo, ShardReceipt

SHARDING = Sharding(val_fraction=0, num_shards=20)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A dataset of twenty shards, most of them empty, with 1,000 colours."""
    output, recipe = str(tmp_path / "out"), Recipe(image_size=32, palette=Palette.grid(10))
    helper_photos.make_image_folder(tmp_path / "images", 5)
    for shard in make_plan(images([str(tmp_path / "images")], output), SHARDING, output):
        write_shard(shard, recipe, "none", output)
    receipts.write_manifest(output, receipts.load(output), recipe, SHARDING, ["images"])
    files.remove_folder(output, files.WORK_DIR)
    return tmp_path / "out"


def test_tasks_of_verify_shards_are_small(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest, which names all shards, is not sent to each task."""
    sent: list[int] = []

    class Pool:
        """Runs tasks in this process, and measures what would be sent to another process."""

        def __init__(self, workers: int) -> None:
            self.workers = workers

        def __enter__(self) -> Pool:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def map(self, task: Callable[..., Any], *columns: Any) -> Iterator[Any]:
            for row in zip(*columns, strict=True):
                sent.append(len(pickle.dumps((task, row))))
                yield task(*row)

    monkeypatch.setattr(verify_shards.concurrent.futures, "ProcessPoolExecutor", Pool)
    assert verify_shards.check_dataset(dataset, 1)[0] == 5
    assert len(sent) == 20
    assert max(sent) < 2000 < len(pickle.dumps(Manifest.load(dataset)))


def test_receipts_are_loaded_without_their_histograms(dataset: Path) -> None:
    loaded = receipts.load(str(dataset))
    assert len(loaded) == 20
    assert all(len(pickle.dumps(receipt)) < 2000 for receipt in loaded.values())
    assert list(loaded.histograms) == [("train", 1000)]
    assert loaded.histograms["train", 1000].tolist() == Manifest.load(dataset).splits["train"].label_histogram
    assert loaded.histograms["train", 1000].sum() == 5 * 32 * 32


def receipt(name: str, histogram: list[int]) -> ShardReceipt:
    shard = ShardInfo(name, 1, 10, "", None)
    return ShardReceipt(SCHEMA_VERSION, "train", shard, "f", "d", histogram, [0], [])


def test_histograms_of_different_lengths_are_summed_separately() -> None:
    added = receipts.Receipts()
    added.add(receipt("train/a", [1, 2]))
    added.add(receipt("train/b", [10, 20]))
    added.add(receipt("train/c", [5, 5, 5]))
    assert added.histograms["train", 2].tolist() == [11, 22]
    assert added.histograms["train", 3].dtype == np.int64
    assert set(added) == {"train/a", "train/b", "train/c"}


def test_a_receipt_with_a_number_out_of_range_is_ignored(dataset: Path) -> None:
    path = next(dataset.glob("receipts/*00003*"))
    whole = ShardReceipt.from_json(path.read_bytes(), path.name)
    counts = [2**63, whole.shard.examples * 32 * 32 - 2**63, *[0] * 998]
    path.write_bytes(dataclasses.replace(whole, label_histogram=counts).to_json())
    assert len(receipts.load(str(dataset))) == 19


def test_the_number_of_files_read_ahead_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(files, "read", lambda path: read.append(path) or path.encode())
    contents = files.read_each(str(number) for number in range(1000))
    assert [next(contents), next(contents)] == [b"0", b"1"]
    assert len(read) <= files.CONNECTIONS + 2
    assert len(list(contents)) == 998
    assert sorted(read, key=int) == [str(number) for number in range(1000)]
