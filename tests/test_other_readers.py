"""Readers that know nothing of linewash read a dataset: TensorFlow's parser and NVIDIA DALI."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TinyDataset, draw_example

from tfrecords_schema import Manifest, Palette

LINES = ("canny", "xdog", "borders")
SIZE = 32

Example = tuple[bytes, np.ndarray, np.ndarray]


def with_tensorflow(root: Path, shards: list[str], compression: str) -> Iterator[Example]:
    """Reads shards with TFRecordDataset and tf.io.parse_example."""
    import tensorflow as tf

    features = {name: tf.io.FixedLenFeature([], tf.string) for name in ("key", "edges", "labels")}
    records = tf.data.TFRecordDataset([str(root / name) for name in shards], compression.upper())
    for record in records.batch(5):
        parsed = tf.io.parse_example(record, features)
        edges, labels = (tf.io.decode_raw(parsed[name], tf.uint8).numpy() for name in ("edges", "labels"))
        yield from zip(parsed["key"].numpy(), edges, labels, strict=True)


def with_dali(root: Path, shards: list[str], _: str) -> Iterator[Example]:
    """Reads shards with DALI's TFRecord reader. Its index gives the position and length of each record."""
    tfrecord = pytest.importorskip("nvidia.dali.tfrecord")
    from nvidia.dali import fn, pipeline_def

    paths, indices = [root / name for name in shards], []
    for number, path in enumerate(paths):
        content, start, lines = path.read_bytes(), 0, []
        while start < len(content):
            length = int.from_bytes(content[start : start + 8], "little") + 16
            lines.append(f"{start} {length}\n")
            start += length
        indices.append(root / f"{number}.idx")
        indices[-1].write_text("".join(lines))
    features = {
        name: tfrecord.FixedLenFeature((), tfrecord.string, "") for name in ("key", "edges", "labels")
    }

    @pipeline_def(batch_size=1, num_threads=1, device_id=None)
    def pipeline() -> Any:
        read = fn.readers.tfrecord(
            path=[str(path) for path in paths], index_path=[str(path) for path in indices], features=features
        )
        return read["key"], read["edges"], read["labels"]

    reader = pipeline()
    reader.build()
    for _ in range(sum(len(index.read_text().splitlines()) for index in indices)):
        key, edges, labels = (np.array(column[0]).astype(np.uint8) for column in reader.run())
        yield key.tobytes(), edges, labels


@pytest.mark.parametrize("num_lines", [1, 3])
@pytest.mark.parametrize(
    ("reader", "compression"), [(with_tensorflow, "none"), (with_tensorflow, "gzip"), (with_dali, "none")]
)
def test_another_reader_gives_the_same_examples(
    tiny_dataset: TinyDataset, num_lines: int, reader: Any, compression: str
) -> None:
    root = tiny_dataset(lines=LINES[:num_lines], size=SIZE, compression=compression)
    manifest = Manifest.load(root)
    shards = [shard.name for shard in manifest.splits["train"].shards]
    keys = []
    for key, edges, labels in reader(root, shards, "" if compression == "none" else compression):
        keys.append(key)
        drawing, truth = draw_example(int(key[-10:-4]), SIZE, Palette.grid(2))
        maps = np.unpackbits(edges).reshape(len(manifest.lines), SIZE, SIZE)
        for number, line_map in enumerate(maps):
            np.testing.assert_array_equal(line_map, np.roll(drawing, number, axis=0))
        np.testing.assert_array_equal(labels.reshape(SIZE, SIZE), truth)
    assert sorted(keys) == [b"scene/%06d.png" % number for number in range(48)]
