"""From shards to batches: the order is a function of (seed, epoch), and damage is reported."""

from __future__ import annotations

import doctest
import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from conftest import TinyDataset, draw_example, write_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

import tfrecords_schema as schema
from training.data.dataset import SHARDS_AT_ONCE, ShardedDataset, ShuffleBuffer, read_batches
from training.errors import UsageError, WorkError
from training.hydra_config import compose


def read_train(root: Path, seed: int, epoch: int, batch_size: int = 8) -> np.ndarray:
    dataset = ShardedDataset.open(str(root))
    batches = dataset.train(batch_size, seed=seed, epoch=epoch, shuffle_buffer=16)
    return np.concatenate([labels.numpy() for _, labels, _ in batches])


def read_val(root: Path, batch_size: int = 5) -> tuple[np.ndarray, np.ndarray]:
    batches = list(ShardedDataset.open(str(root)).eval("val", batch_size))
    edges, labels = ([part.numpy() for part in column] for column in list(zip(*batches, strict=True))[:2])
    return np.concatenate(edges), np.concatenate(labels)


def read_ids(dataset: tf.data.Dataset) -> list[list[int]]:
    return [batch.ids.numpy().tolist() for batch in dataset]


def as_set(images: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in images}


def test_order_is_a_function_of_seed_and_epoch(shared_dataset: Path) -> None:
    first = read_train(shared_dataset, seed=1, epoch=1)
    assert np.array_equal(first, read_train(shared_dataset, seed=1, epoch=1))
    for seed, epoch in [(1, 2), (2, 1), (2, 2), (1, 3)]:
        assert not np.array_equal(first, read_train(shared_dataset, seed=seed, epoch=epoch))


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_the_order_does_not_depend_on_the_number_of_threads(
    tiny_dataset: TinyDataset, compression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = ShardedDataset.open(str(tiny_dataset(train=300, shards=11, compression=compression)))
    orders = []
    for readers, parsers, threads in [(1, 1, 1), (2, 2, 2), (8, 4, 3), (None, 2, 16)]:
        monkeypatch.setattr("training.data.dataset.READERS", readers)
        monkeypatch.setattr("training.data.dataset.PARSERS", parsers)
        options = tf.data.Options()
        options.threading.private_threadpool_size = threads
        batches = dataset.train(4, seed=3, epoch=2, shuffle_buffer=40).with_options(options)
        orders.append(read_ids(batches))
    assert len(orders[0]) == 75
    assert orders[0] == orders[1] == orders[2] == orders[3]


@pytest.mark.parametrize("num_lines", [1, 3])
@pytest.mark.parametrize("num_values", [2, 7])
def test_compression_changes_no_batch(tmp_path: Path, num_values: int, num_lines: int) -> None:
    batches = []
    for compression in ("none", "gzip"):
        root = write_dataset(
            tmp_path / compression, compression=compression, num_values=num_values, lines=LINES[:num_lines]
        )
        dataset = ShardedDataset.open(str(root)).train(8, seed=3, epoch=2, shuffle_buffer=16)
        batches.append([[part.numpy() for part in batch] for batch in dataset])
    assert len(batches[0]) == 6
    for plain, compressed in zip(*batches, strict=True):
        for part, other in zip(plain, compressed, strict=True):
            np.testing.assert_array_equal(part, other)


@pytest.mark.parametrize("seed", range(5))
def test_an_epoch_holds_every_example_once(shared_dataset: Path, seed: int) -> None:
    palette = schema.Palette.grid(2)
    expected = {draw_example(number, 32, palette)[1].tobytes() for number in range(48)}
    images = read_train(shared_dataset, seed=seed, epoch=seed + 1)
    assert len(images) == 48
    assert as_set(images) == expected


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_splits_are_tf_data_pipelines_of_known_shape_and_length(
    tiny_dataset: TinyDataset, compression: str
) -> None:
    dataset = ShardedDataset.open(str(tiny_dataset(compression=compression)))
    train, val = dataset.train(7, shuffle_buffer=16, skip=2), dataset.eval("val", 7)
    assert isinstance(train, tf.data.Dataset)
    assert isinstance(val, tf.data.Dataset)
    assert (len(train), len(val)) == (4, 3)
    shapes = [[part.shape.as_list() for part in split.element_spec] for split in (train, val)]
    assert shapes == [[[7, 128], [7, 32, 32], [7]], [[None, 128], [None, 32, 32], [None]]]
    assert [part.dtype for part in train.element_spec] == [tf.uint8, tf.uint8, tf.int32]
    # A pipeline can be extended as any other.
    assert [len(ids) for ids in train.map(lambda batch: batch.ids).unbatch().batch(14)] == [14, 14]


def test_batches_are_packed(shared_dataset: Path) -> None:
    dataset = ShardedDataset.open(str(shared_dataset))
    batches = dataset.train(8, seed=0, epoch=1, shuffle_buffer=16)
    edges, labels, ids = next(iter(batches))
    assert (ids.dtype, len(set(ids.numpy()))) == ("int32", 8)
    assert (edges.dtype, tuple(edges.shape)) == ("uint8", (8, 32 * 32 // 8))
    assert (labels.dtype, tuple(labels.shape)) == ("uint8", (8, 32, 32))


def test_only_training_drops_the_remainder(tiny_dataset: TinyDataset) -> None:
    root = tiny_dataset(train=10, val=7)
    assert len(read_train(root, seed=0, epoch=1, batch_size=4)) == 8
    assert len(read_val(root, batch_size=4)[1]) == 7


def test_eval_order_does_not_depend_on_the_batch_size(shared_dataset: Path) -> None:
    edges, labels = read_val(shared_dataset, batch_size=5)
    assert np.array_equal(labels, read_val(shared_dataset, batch_size=16)[1])
    expected_edges, expected_labels = draw_example(10_000, 32, schema.Palette.grid(2))
    assert np.array_equal(labels[0], expected_labels)
    assert np.array_equal(np.unpackbits(edges[0]).reshape(32, 32), expected_edges)


def test_gzip_and_uint16(tiny_dataset: TinyDataset) -> None:
    root = tiny_dataset(compression="gzip", num_values=7)
    assert ShardedDataset.open(str(root)).manifest.label_dtype == "uint16"
    labels = read_train(root, seed=0, epoch=1)
    assert labels.dtype == np.uint16
    assert labels.max() == 342


def test_selection_split(tiny_dataset: TinyDataset, shared_dataset: Path) -> None:
    assert ShardedDataset.open(str(shared_dataset)).selection_split == "val"
    without = ShardedDataset.open(str(tiny_dataset(val=0)))
    assert without.selection_split == "train"
    assert (without.examples("train"), without.examples("val"), without.examples("test")) == (48, 0, 0)


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_split_without_examples_is_reported(tiny_dataset: TinyDataset, split: str) -> None:
    root = tiny_dataset(val=0)
    with pytest.raises(UsageError, match=f"{root}: there are no {split} examples"):
        ShardedDataset.open(str(root)).eval(split)


def test_not_a_directory() -> None:
    with pytest.raises(UsageError, match="no such directory; make it with python -m preprocess"):
        ShardedDataset.open("/nowhere/at/all")


def _other_version(manifest: bytes) -> bytes:
    return manifest.replace(b'"schema_version": 2', b'"schema_version": 99')


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda manifest: None, "no manifest.json"),
        (_other_version, "schema version 99"),
        (lambda manifest: b'{"name": "somebody else\'s"}', "schema version None"),
        (lambda manifest: manifest[: len(manifest) // 2], "manifest.json"),
        (lambda manifest: b"", "manifest.json"),
        (lambda manifest: b"[1, 2]", "manifest.json"),
    ],
    ids=["missing", "newer", "foreign", "truncated", "empty", "list"],
)
def test_unusable_manifests(tiny_dataset: TinyDataset, damage: Any, message: str) -> None:
    root = tiny_dataset()
    path = root / schema.MANIFEST_NAME
    damaged = damage(path.read_bytes())
    path.unlink()
    if damaged is not None:
        path.write_bytes(damaged)
    with pytest.raises(UsageError) as error:
        ShardedDataset.open(str(root))
    assert message in str(error.value)
    assert str(root) in str(error.value)


def test_missing_shard(tiny_dataset: TinyDataset) -> None:
    root = tiny_dataset()
    (root / "train/train-00001-of-00003.tfrecord").unlink()
    with pytest.raises(WorkError, match=r"train-00001-of-00003.tfrecord is missing: copy it again"):
        ShardedDataset.open(str(root))


def test_truncated_shard(tiny_dataset: TinyDataset) -> None:
    root = tiny_dataset()
    shard = root / "val/val-00000-of-00001.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-10])
    with pytest.raises(WorkError, match=r"val-00000-of-00001.tfrecord has .* bytes, but the manifest says"):
        ShardedDataset.open(str(root))


@pytest.mark.parametrize("read", ["train", "eval"])
def test_a_flipped_bit_is_found_while_reading(tiny_dataset: TinyDataset, read: str) -> None:
    root = tiny_dataset(shards=1)
    shard = root / "train/train-00000-of-00001.tfrecord"
    content = bytearray(shard.read_bytes())
    content[5000] ^= 1
    shard.write_bytes(content)
    dataset = ShardedDataset.open(str(root))
    batches = dataset.train(8, shuffle_buffer=16) if read == "train" else dataset.eval("train", 8)
    message = (
        r"a shard of .* is damaged \(corrupted record .*\); find it with python scripts/verify_shards.py "
    )
    with pytest.raises(WorkError, match=message + str(root)):
        list(read_batches(batches, str(root)))
    with pytest.raises(tf.errors.DataLossError):
        list(batches)


@pytest.mark.parametrize("examples", [46, 50])
def test_shards_with_another_number_of_records_are_reported(tiny_dataset: TinyDataset, examples: int) -> None:
    root = tiny_dataset(val=0)
    dataset = ShardedDataset.open(str(root))
    dataset.manifest.splits["train"].__dict__["examples"] = examples
    for batches in (dataset.train(8, shuffle_buffer=16), dataset.eval("train", 8)):
        with pytest.raises(WorkError, match=rf"is damaged \(.*expected to contain {examples} elements"):
            list(read_batches(batches, str(root)))


# -------------------------------------------------------------------------------------------- line styles


LINES = ("canny", "xdog", "borders")


def stored_maps(root: Path, split: str) -> dict[int, list[bytes]]:
    """Returns the packed map of each line style of every example, by id."""
    dataset = ShardedDataset.open(str(root))
    by_style = [list(dataset.eval(split, 5, style)) for style in dataset.manifest.lines]
    maps: dict[int, list[bytes]] = {}
    for batches in by_style:
        for edges, _, ids in batches:
            for row, number in zip(edges.numpy(), ids.numpy(), strict=True):
                maps.setdefault(int(number), []).append(row.tobytes())
    return maps


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_an_evaluation_reads_the_style_that_is_named(tiny_dataset: TinyDataset, compression: str) -> None:
    dataset = ShardedDataset.open(str(tiny_dataset(lines=LINES, compression=compression)))
    drawing, _ = draw_example(10_000, 32, schema.Palette.grid(2))
    for number, style in enumerate([None, *LINES]):
        edges = next(iter(dataset.eval("val", 4, style))).edges.numpy()
        assert edges.shape == (4, 128)
        moved = np.roll(drawing, max(0, number - 1), axis=0)
        assert np.array_equal(np.unpackbits(edges[0]).reshape(32, 32), moved)
    with pytest.raises(UsageError, match=r"lines=sobel: .* only canny, xdog, borders"):
        dataset.eval("val", 4, "sobel")


def drawn_styles(root: Path, seed: int, epoch: int, **options: Any) -> dict[int, int]:
    """Returns the number of the line style that training shows of each example, by id."""
    maps = stored_maps(root, "train")
    batches = ShardedDataset.open(str(root)).train(seed=seed, epoch=epoch, shuffle_buffer=16, **options)
    return {
        int(number): maps[int(number)].index(row.tobytes())
        for edges, _, ids in batches
        for row, number in zip(edges.numpy(), ids.numpy(), strict=True)
    }


def test_training_draws_every_style_equally_often(tiny_dataset: TinyDataset) -> None:
    root = tiny_dataset(lines=LINES, val=0)
    epochs = [drawn_styles(root, 0, epoch, batch_size=8) for epoch in range(1, 41)]
    counts = np.bincount([style for epoch in epochs for style in epoch.values()])
    assert counts.sum() == 48 * 40
    assert ((counts - 640) ** 2 / 640).sum() < 18.4  # chi-squared of 2 degrees: p < 0.0001
    assert epochs[0] != epochs[1] != drawn_styles(root, 1, 2, batch_size=8)
    # Each example is shown in every style sooner or later.
    assert all({epoch[number] for epoch in epochs} == {0, 1, 2} for number in epochs[0])


def test_the_style_depends_on_seed_epoch_and_example_only(tiny_dataset: TinyDataset) -> None:
    root = tiny_dataset(lines=LINES, val=0)
    first = drawn_styles(root, 5, 3, batch_size=8)
    assert drawn_styles(root, 5, 3, batch_size=48) == first
    resumed = drawn_styles(root, 5, 3, batch_size=8, skip=4)
    assert len(resumed) == 16
    assert resumed.items() <= first.items()


def test_the_shuffle_buffer_counts_the_bytes_of_all_styles(tiny_dataset: TinyDataset) -> None:
    manifest = ShardedDataset.open(str(tiny_dataset(lines=LINES, size=128, train=3, val=0))).manifest
    record_bytes = 3 * 128**2 // 8 + 128**2
    assert ShuffleBuffer.from_limits(manifest, 10_000, 1).records <= 1_000_000 // record_bytes


def test_records_with_fewer_maps_than_the_manifest_has_styles(tiny_dataset: TinyDataset) -> None:
    """The bytes of one style are never given for those of another."""
    root = tiny_dataset(lines=LINES[:1], compression="gzip")
    path = root / schema.MANIFEST_NAME
    content = json.loads(path.read_bytes()) | {"lines": ["canny", "xdog"]}
    for split in content["splits"].values():
        split["edge_pixels"] *= 2
    path.write_text(json.dumps(content))
    dataset = ShardedDataset.open(str(root))
    for batches in (dataset.train(8, shuffle_buffer=16), dataset.eval("val", 8)):
        with pytest.raises(WorkError, match=r"a shard of .* is damaged"):
            next(read_batches(batches, str(root)))


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("skip", [0, 1, 4, 9, 12, 20])
def test_skipping_does_not_change_the_other_batches(
    tiny_dataset: TinyDataset, compression: str, skip: int
) -> None:
    dataset = ShardedDataset.open(str(tiny_dataset(train=50, compression=compression)))
    options = {"batch_size": 4, "seed": 0, "epoch": 1, "shuffle_buffer": 7}
    whole = read_ids(dataset.train(**options))
    assert len(whole) == 12
    assert read_ids(dataset.train(**options, skip=skip)) == whole[skip:]


def test_skipped_batches_are_not_parsed(tiny_dataset: TinyDataset) -> None:
    """Records that cannot be parsed are no obstacle if they are skipped."""
    dataset = ShardedDataset.open(str(tiny_dataset(val=0)))
    dataset.manifest.__dict__["image_size"] = 64
    with pytest.raises(tf.errors.InvalidArgumentError):
        next(iter(dataset.train(8, shuffle_buffer=16, skip=5)))
    assert list(dataset.train(8, shuffle_buffer=16, skip=6)) == []


@pytest.mark.parametrize("skip", [10, 25, 39])
def test_skipped_groups_of_shards_are_not_read(tiny_dataset: TinyDataset, skip: int) -> None:
    root = tiny_dataset(train=320, val=0, shards=4 * SHARDS_AT_ONCE)
    dataset = ShardedDataset.open(str(root))
    options = {"batch_size": 8, "seed": 3, "epoch": 2, "shuffle_buffer": 10}  # four groups of 80 records
    whole = read_ids(dataset.train(**options))
    needed = {number for ids in whole[skip // 10 * 10 :] for number in ids}
    removed = 0
    shards = dataset.manifest.splits["train"].shards
    for shard, ids in zip(shards, read_ids(dataset.eval("train", 10)), strict=True):
        if not needed & set(ids):
            (root / shard.name).unlink()
            removed += 1
    assert removed == skip // 10 * SHARDS_AT_ONCE
    assert read_ids(dataset.train(**options, skip=skip)) == whole[skip:]


@given(
    shards=st.lists(st.integers(1, 9), min_size=1, max_size=3 * SHARDS_AT_ONCE),
    batch_size=st.integers(1, 5),
    shuffle_buffer=st.integers(1, 12),
    epoch=st.integers(1, 3),
    data=st.data(),
)
@settings(max_examples=25)
def test_every_record_occurs_once_for_any_sizes(
    tmp_path_factory: pytest.TempPathFactory,
    shards: list[int],
    batch_size: int,
    shuffle_buffer: int,
    epoch: int,
    data: st.DataObject,
) -> None:
    """Shards of several sizes, whose keys have several lengths."""
    root = tmp_path_factory.mktemp("dataset")
    (root / "train").mkdir()
    infos, keys = [], []
    for index, count in enumerate(shards):
        shard_keys = [b"%d/%d" % (index, number) + b"x" * (index % 5) for number in range(count)]
        records = [schema.encode_example(key + b"\0" * (number % 3), key[:1] * 8, key[:1] * 64)
                   for number, key in enumerate(shard_keys)]  # fmt: skip
        info = schema.ShardInfo(f"train/{index}", count, 0, "", None)
        (root / info.name).write_bytes(b"".join(map(schema.frame_record, records)))
        infos.append(info)
        keys += shard_keys
    split = schema.Split(len(keys), [64 * len(keys), 0], [0], infos)
    manifest = schema.Manifest(
        schema_version=schema.SCHEMA_VERSION, tool="", fingerprint="", images_digest="", image_size=8,
        label_dtype="uint8", lines=["canny"], compression="none",
        palette=schema.Palette("two", ((0, 0, 0), (9, 9, 9))), recipe={}, seed=0, val_fraction=0, sources=[],
        splits={"train": split}, rejects={},
    )  # fmt: skip
    dataset = ShardedDataset(str(root), manifest)
    options = {"batch_size": batch_size, "seed": 1, "epoch": epoch, "shuffle_buffer": shuffle_buffer}
    whole = list(dataset.train(**options))
    label_of = {int(id_): key[0] for key, id_ in zip(keys, hash_keys(keys), strict=True)}
    flat = [number for batch in whole for number in batch.ids.numpy().tolist()]
    assert len(label_of) == len(keys), "the test needs keys with different ids"
    assert [len(batch.ids) for batch in whole] == [batch_size] * (len(keys) // batch_size)
    assert len(flat) == len(set(flat))
    for batch in whole:
        for edges, labels, number in zip(*(part.numpy() for part in batch), strict=True):
            assert {*edges, *labels.ravel()} == {label_of[int(number)]}
    skip = data.draw(st.integers(0, len(whole)))
    assert (
        read_ids(dataset.train(**options, skip=skip))
        == [batch.ids.numpy().tolist() for batch in whole][skip:]
    )


def hash_keys(keys: list[bytes]) -> np.ndarray:
    return tf.strings.to_hash_bucket_fast(keys, 2**31 - 1).numpy()


def test_bytes_per_example(tiny_dataset: TinyDataset) -> None:
    root = tiny_dataset(train=8, val=0, size=128, num_values=4)
    batch = next(iter(ShardedDataset.open(str(root)).train(8, shuffle_buffer=16)))
    assert sum(part.numpy().nbytes for part in batch) / 8 <= 18_500


def test_the_example_in_the_docstring_runs(shared_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shared_dataset.parent)
    (example,) = doctest.DocTestFinder(recurse=False).find(ShardedDataset, globs={})
    assert doctest.DocTestRunner().run(example, clear_globs=False) == (0, 4)
    assert example.globs["edges"].shape == (16, 32, 32, 1)
    assert example.globs["colors"].shape == (16, 32, 32, 3)


def test_the_defaults_are_those_of_the_configuration() -> None:
    data = compose(["data.root=x"]).data
    defaults = inspect.signature(ShardedDataset.train).parameters
    for name in ("shuffle_buffer", "shuffle_megabytes"):
        assert defaults[name].default == getattr(data, name)
