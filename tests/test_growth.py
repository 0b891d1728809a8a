"""What a job and its check hold does not grow with shards times colours, nor with shards squared."""

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

LAYOUT = Sharding(val_fraction=0, num_shards=20)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Twenty shards, most of them empty, of a recipe of 1,000 colours."""
    output, recipe = str(tmp_path / "out"), Recipe(image_size=32, palette=Palette.grid(10))
    helper_photos.folder(tmp_path / "images", 5)
    for shard in make_plan(images([str(tmp_path / "images")], output), LAYOUT, output):
        write_shard(shard, recipe, "none", output)
    receipts.write_manifest(output, receipts.load(output), recipe, LAYOUT, ["images"])
    files.remove_folder(output, files.WORK_DIR)
    return tmp_path / "out"


def test_a_task_of_verify_shards_gets_what_it_needs(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest names all shards: it is not sent to the task of each."""
    sent: list[int] = []

    class Pool:
        """Works in this process, and weighs what a process would be sent."""

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


def test_receipts_are_kept_without_their_histograms(dataset: Path) -> None:
    found = receipts.load(str(dataset))
    assert len(found) == 20
    assert all(len(pickle.dumps(receipt)) < 2000 for receipt in found.values())
    assert list(found.histograms) == [("train", 1000)]
    assert found.histograms["train", 1000].tolist() == Manifest.load(dataset).splits["train"].label_histogram
    assert found.histograms["train", 1000].sum() == 5 * 32 * 32


def receipt(name: str, histogram: list[int]) -> ShardReceipt:
    shard = ShardInfo(name, 1, 10, "", None)
    return ShardReceipt(SCHEMA_VERSION, "train", shard, "f", "d", histogram, 0, [])


def test_histograms_of_another_length_are_not_mixed_in() -> None:
    found = receipts.Receipts()
    found.add(receipt("train/a", [1, 2]))
    found.add(receipt("train/b", [10, 20]))
    found.add(receipt("train/c", [5, 5, 5]))
    assert found.histograms["train", 2].tolist() == [11, 22]
    assert found.histograms["train", 3].dtype == np.int64
    assert set(found) == {"train/a", "train/b", "train/c"}


def test_a_receipt_with_a_number_out_of_range_counts_as_damaged(dataset: Path) -> None:
    path = next(dataset.glob("receipts/*00003*"))
    whole = ShardReceipt.from_json(path.read_bytes(), path.name)
    counts = [2**63, whole.shard.examples * 32 * 32 - 2**63, *[0] * 998]
    path.write_bytes(dataclasses.replace(whole, label_histogram=counts).to_json())
    assert len(receipts.load(str(dataset))) == 19


def test_only_so_many_files_are_read_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(files, "read", lambda path: read.append(path) or path.encode())
    found = files.read_each(str(number) for number in range(1000))
    assert [next(found), next(found)] == [b"0", b"1"]
    assert len(read) <= files.CONNECTIONS + 2
    assert len(list(found)) == 998
    assert sorted(read, key=int) == [str(number) for number in range(1000)]
