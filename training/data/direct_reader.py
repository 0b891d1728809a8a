"""Uncompressed shards as arrays: pieces of them read whole, checked, mixed, and cut into batches.

All records of an uncompressed shard have one length, and the manifest says where in it key, edges and labels
lie. So nothing is parsed: a chunk of records is read from several shards at once, and a batch is gathered
out of it row by row. Both checksums of every record are checked on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

import tfrecords_schema as schema
from training.data import storage

# Records read in one go: long enough for a disk or a bucket, short enough that a chunk mixes several shards.
PIECE_RECORDS = 256
# Bytes: TensorFlow takes over an array that begins at a multiple of it, and copies any other.
ALIGNMENT = 64


class Piece(NamedTuple):
    """So many `records` of the shard at `path`, from number `first` on."""

    path: str
    layout: schema.RecordLayout
    first: int
    records: int


class Rows(NamedTuple):
    """Some examples: ids int32 [N], packed edges uint8 [N, S*S/8], labels as bytes, uint8 [N, L]."""

    ids: np.ndarray
    edges: np.ndarray
    labels: np.ndarray


class Chunk(NamedTuple):
    """Records in memory as they lay on disk, and in an order of their own.

    `data` is uint8 [bytes]; `ids`, `edges_at` and `labels_at` have one entry a record, the latter two its
    places in `data`.
    """

    data: np.ndarray
    ids: np.ndarray
    edges_at: np.ndarray
    labels_at: np.ndarray
    layout: schema.RecordLayout

    def rows(self, first: int, count: int) -> Rows:
        """Copies out up to `count` examples, from place `first` of the order on."""
        some = slice(first, first + count)
        return Rows(
            _copied(self.ids[some]),
            _gather(self.data, self.edges_at[some], self.layout.edges_bytes),
            _gather(self.data, self.labels_at[some], self.layout.labels_bytes),
        )


def pieces_of(path: str, shard: schema.ShardInfo, most: int | None = None) -> list[Piece]:
    """Cuts a shard into pieces of up to `most` records: `PIECE_RECORDS` if left out.

    Raises:
      SchemaError: its layout contradicts itself, or the shard's size.
    """
    layout = shard.layout
    assert layout, f"{path} is compressed"
    sizes = (layout.key_bytes, layout.edges_bytes, layout.labels_bytes)
    # What does not fit into the shard is not measured, which takes as much memory.
    fits = min(sizes) >= 1 and sum(sizes) < layout.stride <= max(shard.bytes, 0)
    if (
        not fits
        or layout != schema.RecordLayout.from_sizes(*sizes)
        or layout.stride * shard.examples != shard.bytes
    ):
        raise schema.SchemaError(f"{path}: the layout in {schema.MANIFEST_NAME} is not that of the shard")
    size = most or PIECE_RECORDS
    firsts = range(0, shard.examples, size)
    return [Piece(path, layout, first, min(size, shard.examples - first)) for first in firsts]


def batches(
    pieces: list[Piece],
    identify: Callable[[np.ndarray], np.ndarray],
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    at_once: int,
    skip: int,
) -> Iterator[Rows]:
    """Yields whole batches of all records in an order that (seed, epoch) alone decides.

    The pieces are shuffled, and the records of each `at_once` or more of them; the next chunk is read while
    this one is used. The first `skip` batches are left out, and what only they need is not read. `identify`
    makes ids int32 [N] of keys, bytes [N].

    Raises:
      SchemaError: a record is damaged.
      OSError: a file cannot be read.
    """
    order = np.random.default_rng([seed, epoch]).permutation(len(pieces))
    groups = list(enumerate(_groups([pieces[i] for i in order], at_once)))
    left_out = skip * batch_size
    while groups and left_out >= (size := sum(piece.records for piece in groups[0][1])):
        left_out -= size
        groups.pop(0)
    with ThreadPoolExecutor(1) as reader:
        # Two buffers in turn: one is read into while batches are copied out of the other. Nobody else ever
        # holds them.
        room = max((sum(p.records * p.layout.stride for p in group) for _, group in groups), default=0)
        buffers = [np.empty(room, np.uint8) for _ in range(2)]
        orders = [np.random.default_rng([seed, epoch, number]) for number, _ in groups]
        ahead = reader.submit(read_chunk, groups[0][1], identify, orders[0], buffers[0]) if groups else None
        held: list[Rows] = []
        missing = batch_size
        for place in range(len(groups)):
            assert ahead
            chunk = ahead.result()
            if place + 1 < len(groups):
                ahead = reader.submit(
                    read_chunk, groups[place + 1][1], identify, orders[place + 1], buffers[(place + 1) % 2]
                )
            while left_out < len(chunk.ids):
                held.append(chunk.rows(left_out, missing))
                left_out += len(held[-1].ids)
                missing -= len(held[-1].ids)
                if not missing:
                    yield _join(held)
                    held, missing = [], batch_size
            left_out = 0


def read_chunk(
    pieces: list[Piece],
    identify: Callable[[np.ndarray], np.ndarray],
    generator: np.random.Generator,
    buffer: np.ndarray,
) -> Chunk:
    """Reads pieces side by side into `buffer`, as one chunk whose order the generator draws.

    Raises:
      SchemaError: a record is damaged, or is not there.
      OSError: a file cannot be read.
    """
    sizes = [piece.records * piece.layout.stride for piece in pieces]
    data = buffer[: sum(sizes)]
    ids, edges_at, labels_at, end = [], [], [], 0
    for piece, size in zip(pieces, sizes, strict=True):
        begin, end, layout = end, end + size, piece.layout
        records = data[begin:end].reshape(piece.records, layout.stride)
        try:
            _read_records(records, piece)
        except schema.SchemaError as e:
            raise schema.SchemaError(f"{piece.path}: {e}") from None
        key = records[:, layout.key_offset : layout.key_offset + layout.key_bytes]
        ids.append(identify(np.ascontiguousarray(key).view(f"S{layout.key_bytes}")[:, 0]))
        starts = np.arange(begin, end, layout.stride)
        edges_at.append(starts + layout.edges_offset)
        labels_at.append(starts + layout.labels_offset)
    order = generator.permutation(sum(piece.records for piece in pieces))
    joined = [np.concatenate(parts)[order] for parts in (ids, edges_at, labels_at)]
    return Chunk(data, joined[0], joined[1], joined[2], pieces[0].layout)


def _groups(pieces: list[Piece], at_once: int) -> Iterator[list[Piece]]:
    """Consecutive pieces which have `at_once` records or just more; the last group takes what is left."""
    group: list[Piece] = []
    for piece in pieces:
        group.append(piece)
        if sum(member.records for member in group) >= at_once:
            yield group
            group = []
    if group:
        yield group


def _join(parts: list[Rows]) -> Rows:
    if len(parts) == 1:
        return parts[0]
    return Rows(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _empty(size: int) -> np.ndarray:
    """Fresh memory, uint8 [size], placed so that TensorFlow takes it over without a copy."""
    array = np.empty(size + ALIGNMENT, np.uint8)
    skipped = -array.ctypes.data % ALIGNMENT
    return array[skipped : skipped + size]


def _copied(ids: np.ndarray) -> np.ndarray:
    """The same numbers in memory that TensorFlow takes over."""
    copy = _empty(ids.nbytes).view(ids.dtype)
    copy[:] = ids
    return copy


def _gather(data: np.ndarray, starts: np.ndarray, size: int) -> np.ndarray:
    """Copies `size` bytes from each of `starts`: uint8 [N, size]."""
    rows = _empty(len(starts) * size).reshape(-1, size)
    # Not NumPy's own copying: it lets go of the interpreter's lock for each row, and to get it back from the
    # thread that reads takes longer than the copy.
    source, target = data.data, rows.reshape(-1).data
    for place, start in zip(range(0, len(target), size), starts.tolist(), strict=True):
        target[place : place + size] = source[start : start + size]
    return rows


def _read_records(records: np.ndarray, piece: Piece) -> None:
    """Fills uint8 [N, stride] with a piece's records, and checks them."""
    data, offset = records.reshape(-1), piece.first * piece.layout.stride
    got = storage.read_into(data, piece.path, offset)
    if got < len(data):
        raise schema.SchemaError(f"the file ends inside record {piece.first + got // piece.layout.stride}")
    schema.check_frames(records, piece.first)
