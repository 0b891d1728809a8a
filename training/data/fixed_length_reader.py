"""Reads shards of fixed-length records straight into arrays, without TFRecordDataset and without parsing.

All records of an uncompressed shard have the same length, and the manifest says at which byte of a record
its key, edges and labels begin. So records are read in large ranges from several shards at once, shuffled in
memory, and copied column by column into batches. The checksums of every record are verified.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

import tfrecords_schema as schema
from training.data import storage

# Records read at once: long enough for a disk or a bucket, short enough that a chunk mixes several shards.
RANGE_RECORDS = 256
# Bytes. TensorFlow uses the memory of an array that begins at a multiple of it, and copies any other array.
ALIGNMENT = 64


class ShardRange(NamedTuple):
    """The records `first`, `first` + 1, ... `first` + `records` - 1 of the shard at `path`."""

    path: str
    layout: schema.RecordLayout
    first: int
    records: int


class Columns(NamedTuple):
    """Some examples: ids int32 [N], packed edges uint8 [N, S*S/8], labels as bytes, uint8 [N, L]."""

    ids: np.ndarray
    edges: np.ndarray
    labels: np.ndarray


class ShuffledChunk(NamedTuple):
    """Records of several shard ranges as they are on disk, and a random order in which they are used.

    Attributes:
      data: uint8 [bytes], the records.
      ids: int32 [N], in the random order.
      edges_starts, labels_starts: int64 [N], the index in `data` of each example, in the same order.
    """

    data: np.ndarray
    ids: np.ndarray
    edges_starts: np.ndarray
    labels_starts: np.ndarray
    layout: schema.RecordLayout

    def gather(self, first: int, count: int) -> Columns:
        """Copies up to `count` examples, beginning with number `first` of the random order."""
        selected = slice(first, first + count)
        return Columns(
            _copy_aligned(self.ids[selected]),
            _gather_bytes(self.data, self.edges_starts[selected], self.layout.edges_bytes),
            _gather_bytes(self.data, self.labels_starts[selected], self.layout.labels_bytes),
        )


def split_shard(path: str, shard: schema.ShardInfo, max_records: int | None = None) -> list[ShardRange]:
    """Splits a shard into ranges of up to `max_records` records, by default `RANGE_RECORDS`.

    Raises:
      SchemaError: the layout contradicts itself, or the size of the shard.
    """
    layout = shard.layout
    assert layout, f"{path} is compressed"
    sizes = (layout.key_bytes, layout.edges_bytes, layout.labels_bytes)
    # A layout that exceeds the shard is rejected first: `RecordLayout.from_sizes` allocates as much memory.
    fits = min(sizes) >= 1 and sum(sizes) < layout.stride <= max(shard.bytes, 0)
    if (
        not fits
        or layout != schema.RecordLayout.from_sizes(*sizes)
        or layout.stride * shard.examples != shard.bytes
    ):
        raise schema.SchemaError(f"{path}: the layout in {schema.MANIFEST_NAME} is not that of the shard")
    size = max_records or RANGE_RECORDS
    starts = range(0, shard.examples, size)
    return [ShardRange(path, layout, first, min(size, shard.examples - first)) for first in starts]


def batches(
    ranges: list[ShardRange],
    hash_keys: Callable[[np.ndarray], np.ndarray],
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    chunk_records: int,
    skip: int,
) -> Iterator[Columns]:
    """Yields batches of all records in an order that is a function of (seed, epoch); drops the remainder.

    The ranges are shuffled and grouped into chunks of at least `chunk_records` records, and the records of
    each chunk are shuffled. The next chunk is read while the current one is used.

    Args:
      ranges: ranges of all shards.
      hash_keys: maps keys, bytes [N], to ids, int32 [N].
      batch_size: examples per batch.
      seed, epoch: determine the order.
      chunk_records: records that are shuffled together.
      skip: batches to skip; chunks that hold nothing else are not read.

    Raises:
      SchemaError: a record is damaged.
      OSError: a file cannot be read.
    """
    order = np.random.default_rng([seed, epoch]).permutation(len(ranges))
    chunks = list(enumerate(_group([ranges[i] for i in order], chunk_records)))
    position = skip * batch_size  # of the next example, counted from the beginning of the next chunk
    while chunks and position >= (size := sum(part.records for part in chunks[0][1])):
        position -= size
        chunks.pop(0)
    with ThreadPoolExecutor(1) as reader:
        # Two alternating buffers: one is filled while batches are copied out of the other. Batches never
        # refer to them.
        capacity = max((sum(p.records * p.layout.stride for p in parts) for _, parts in chunks), default=0)
        buffers = [np.empty(capacity, np.uint8) for _ in range(2)]
        generators = [np.random.default_rng([seed, epoch, number]) for number, _ in chunks]

        def read_ahead(index: int) -> Future[ShuffledChunk]:
            return reader.submit(
                read_chunk, chunks[index][1], hash_keys, generators[index], buffers[index % 2]
            )

        pending = read_ahead(0) if chunks else None
        parts: list[Columns] = []
        missing = batch_size
        for index in range(len(chunks)):
            assert pending
            chunk = pending.result()
            if index + 1 < len(chunks):
                pending = read_ahead(index + 1)
            while position < len(chunk.ids):
                parts.append(chunk.gather(position, missing))
                position += len(parts[-1].ids)
                missing -= len(parts[-1].ids)
                if not missing:
                    yield _concatenate(parts)
                    parts, missing = [], batch_size
            position = 0


def read_chunk(
    ranges: list[ShardRange],
    hash_keys: Callable[[np.ndarray], np.ndarray],
    generator: np.random.Generator,
    buffer: np.ndarray,
) -> ShuffledChunk:
    """Reads ranges one after the other into `buffer`, and draws the order of their records.

    Raises:
      SchemaError: a record is damaged, or the file ends before it.
      OSError: a file cannot be read.
    """
    sizes = [part.records * part.layout.stride for part in ranges]
    data = buffer[: sum(sizes)]
    ids, edges_starts, labels_starts, end = [], [], [], 0
    for part, size in zip(ranges, sizes, strict=True):
        begin, end, layout = end, end + size, part.layout
        records = data[begin:end].reshape(part.records, layout.stride)
        try:
            _read_records(records, part)
        except schema.SchemaError as e:
            raise schema.SchemaError(f"{part.path}: {e}") from None
        key = records[:, layout.key_offset : layout.key_offset + layout.key_bytes]
        ids.append(hash_keys(np.ascontiguousarray(key).view(f"S{layout.key_bytes}")[:, 0]))
        starts = np.arange(begin, end, layout.stride)
        edges_starts.append(starts + layout.edges_offset)
        labels_starts.append(starts + layout.labels_offset)
    order = generator.permutation(sum(part.records for part in ranges))
    shuffled = [np.concatenate(column)[order] for column in (ids, edges_starts, labels_starts)]
    return ShuffledChunk(data, shuffled[0], shuffled[1], shuffled[2], ranges[0].layout)


def _group(ranges: list[ShardRange], min_records: int) -> Iterator[list[ShardRange]]:
    """Groups consecutive ranges until they have `min_records` records; the last group may have fewer."""
    group: list[ShardRange] = []
    for part in ranges:
        group.append(part)
        if sum(member.records for member in group) >= min_records:
            yield group
            group = []
    if group:
        yield group


def _concatenate(parts: list[Columns]) -> Columns:
    if len(parts) == 1:
        return parts[0]
    return Columns(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _empty_aligned(size: int) -> np.ndarray:
    """Allocates uint8 [size], aligned so that TensorFlow uses the memory without a copy."""
    array = np.empty(size + ALIGNMENT, np.uint8)
    start = -array.ctypes.data % ALIGNMENT
    return array[start : start + size]


def _copy_aligned(ids: np.ndarray) -> np.ndarray:
    copy = _empty_aligned(ids.nbytes).view(ids.dtype)
    copy[:] = ids
    return copy


def _gather_bytes(data: np.ndarray, starts: np.ndarray, size: int) -> np.ndarray:
    """Copies `size` bytes from each of `starts`: uint8 [N, size]."""
    rows = _empty_aligned(len(starts) * size).reshape(-1, size)
    # NumPy would release the interpreter's lock for each row. To get it back from the thread that reads takes
    # longer than the copy.
    source, target = data.data, rows.reshape(-1).data
    for row_start, start in zip(range(0, len(target), size), starts.tolist(), strict=True):
        target[row_start : row_start + size] = source[start : start + size]
    return rows


def _read_records(records: np.ndarray, part: ShardRange) -> None:
    """Fills uint8 [N, stride] with the records of a range, and verifies their checksums."""
    data, offset = records.reshape(-1), part.first * part.layout.stride
    size = storage.read_into(data, part.path, offset)
    if size < len(data):
        raise schema.SchemaError(f"the file ends inside record {part.first + size // part.layout.stride}")
    schema.check_frames(records, part.first)
