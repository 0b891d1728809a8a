"""The rows of a batch that each replica gets, and their way to the devices."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from conftest import TinyDataset
from helper_commands import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.dataset import Batch, ShardedDataset, read_batches
from training.errors import WorkError
from training.loop.distribution import Replicas, prefetch_to_gpu, rows_of_replicas


def numbered_batches(count: int, batch_size: int) -> tf.data.Dataset:
    """Returns batches whose ids count from 0."""
    ids = tf.data.Dataset.range(count * batch_size, output_type=tf.int32)
    rows = ids.map(lambda i: Batch(tf.fill([4], tf.cast(i, tf.uint8)), tf.fill([8, 8], i), i))
    return rows.batch(batch_size, drop_remainder=True)


@given(
    processes=st.integers(1, 4), replicas=st.integers(1, 3), rows=st.integers(1, 3), count=st.integers(1, 4)
)
@settings(max_examples=25)
def test_replicas_share_the_rows_of_each_batch(processes: int, replicas: int, rows: int, count: int) -> None:
    """Replica i has rows number i*rows, i*rows + 1, ... of each batch, whatever process it belongs to."""
    total = processes * replicas
    batches = numbered_batches(count, total * rows)
    for process in range(processes):
        parts = list(rows_of_replicas(batches, total, process, processes))
        assert len(parts) == count * replicas
        for number, part in enumerate(parts):
            step, replica = divmod(number, replicas)
            first = step * total * rows + (process * replicas + replica) * rows
            np.testing.assert_array_equal(part.ids, range(first, first + rows))
            np.testing.assert_array_equal(part.labels[:, 0, 0], part.ids)
            assert part.edges.shape == (rows, 4)


def test_one_device_gets_whole_batches(shared_dataset: Path) -> None:
    batches = ShardedDataset.open(str(shared_dataset)).train(8, shuffle_buffer=16)
    placed = list(Replicas.create("one").place(batches))
    assert [batch.ids.numpy().tolist() for batch in placed] == [
        batch.ids.numpy().tolist() for batch in batches
    ]
    assert all(isinstance(batch, Batch) for batch in placed)


def test_batches_are_prefetched_to_a_gpu(shared_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU takes the place of the GPU: what matters is that the pipeline ends on a device."""
    (cpu,) = tf.config.list_logical_devices("CPU")
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: {"GPU": [cpu]}[kind])
    dataset = ShardedDataset.open(str(shared_dataset))
    batches = dataset.eval("val", 5)
    placed = list(read_batches(batches, dataset.root, prefetch_to_gpu))
    assert "CopyToDevice" in type(prefetch_to_gpu(batches)._input_dataset).__name__
    for batch, expected in zip(placed, batches, strict=True):
        for part, other in zip(batch, expected, strict=True):
            np.testing.assert_array_equal(part, other)


def test_damage_is_reported_by_a_pipeline_that_ends_on_a_device(
    tiny_dataset: TinyDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cpu,) = tf.config.list_logical_devices("CPU")
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: {"GPU": [cpu]}[kind])
    root = damaged(tiny_dataset())
    dataset = ShardedDataset.open(str(root))
    with pytest.raises(WorkError, match=r"is damaged \(corrupted record .*verify_shards.py"):
        list(read_batches(dataset.train(8, shuffle_buffer=16), str(root), prefetch_to_gpu))


def damaged(root: Path) -> Path:
    shard = next(root.glob("train/*"))
    content = bytearray(shard.read_bytes())
    content[5000] ^= 1
    shard.write_bytes(content)
    return root


TWO_DEVICES = """
import json, sys, tensorflow as tf
device = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(device, [tf.config.LogicalDeviceConfiguration()] * 2)
from training.data.dataset import ShardedDataset, read_batches
from training.errors import WorkError
from training.loop.distribution import Replicas

replicas, found = Replicas.create("mirrored"), []
assert replicas.count == 2
dataset = ShardedDataset.open(sys.argv[1])
batches = dataset.train(8, seed=3, epoch=2, shuffle_buffer=16)
try:
    for columns in read_batches(batches, dataset.root, replicas.place):
        found.append([part.numpy().tolist() for part in columns.ids.values])
        devices = [part.device[-5:] for column in columns for part in column.values]
        assert devices == ["CPU:0", "CPU:1"] * 3, devices
except WorkError as e:
    found = str(e)
print(json.dumps([found, [batch.ids.numpy().tolist() for batch in batches] if type(found) is list else 0]))
"""


def read_on_two_devices(root: Path) -> tuple[list[list[list[int]]] | str, list[list[int]]]:
    command = [sys.executable, "-c", TWO_DEVICES, str(root)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    parts, whole = json.loads(done.stdout)
    return parts, whole


@pytest.mark.slow  # each starts TensorFlow in a process of its own
def test_two_devices_get_halves_of_each_batch(shared_dataset: Path) -> None:
    parts, whole = read_on_two_devices(shared_dataset)
    assert len(whole) == 6
    assert parts == [[ids[:4], ids[4:]] for ids in whole]


@pytest.mark.slow
def test_damage_is_reported_on_two_devices(tiny_dataset: TinyDataset) -> None:
    message, _ = read_on_two_devices(damaged(tiny_dataset()))
    assert "is damaged (corrupted record" in message
    assert "find it with python scripts/verify_shards.py" in message
