"""Images in, one list a shard out: which shard an image goes to, and where it stands in it.

Everything follows from a hash of (seed, key), so that neither the order of listing, nor the runner, nor the
number of workers can change a byte. Listing and sorting go through an SQLite file beside the dataset, so
that memory stays flat whatever the number of images.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from itertools import groupby, islice

from preprocess import storage
from preprocess.sources import Image, SourceError
from tfrecords_schema import Compression, shard_name

HASH_BITS = 64
# About 19 MB at 128 px: small enough to lose one and to share out evenly, large enough to stream.
IMAGES_PER_SHARD = 1024


@dataclasses.dataclass(frozen=True)
class Layout:
    """What decides where a record goes.

    Raises:
      ValueError: a setting is out of range; the message says which, and the range.
    """

    seed: int = 0
    val_fraction: float = 0.05  # share of the images, 0 to 0.9, that goes to the val split
    num_shards: int = 0  # of the train split; 0: by the number of images; val gets its share of as many
    compression: Compression = "none"

    def __post_init__(self) -> None:
        if not 0 <= self.val_fraction <= 0.9:
            raise ValueError(f"val_fraction must be from 0 to 0.9, got {self.val_fraction}")
        if not 0 <= self.num_shards <= 99_999:
            raise ValueError(f"num_shards must be from 0 (automatic) to 99999, got {self.num_shards}")

    @property
    def boundary(self) -> int:
        """Hashes below it are val, the others train."""
        return int(self.val_fraction * 2**HASH_BITS)


@dataclasses.dataclass(frozen=True)
class Shard:
    """One shard to write: `images` of them, listed in the file `plan` as one [key, path] a line."""

    split: str
    name: str
    plan: str
    images: int
    images_digest: str
    key_bytes: int


def hash_key(seed: int, key: str) -> int:
    """A number in 0..2^64-1, spread evenly: the image's place in the world."""
    return int.from_bytes(
        hashlib.blake2b(f"{seed}/{key}".encode(), digest_size=HASH_BITS // 8).digest(), "big"
    )


def default_num_shards(images: int) -> int:
    """Full shards for a large split; for a small one up to 16, so that all cores and the bar have work."""
    return max(-(-images // IMAGES_PER_SHARD), min(16, -(-images // 64)))


def make_plan(images: Iterable[Image], layout: Layout, output: str) -> list[Shard]:
    """Shares the images out to shards and writes each shard's list below `output`/.work/plan.

    Raises:
      SourceError: two images have one key, or a split that was asked for got no image.
    """
    with _sorted_images(images, layout) as (database, counts):
        shards = []
        for split, rows, width in _splits(database, layout, counts):
            of = layout.num_shards or default_num_shards(counts["train"])
            if split == "val":  # as full as the train shards are
                of = max(1, round(of * counts["val"] / max(1, counts["train"])))
            for index, listed in enumerate(_by_shard(rows, width, of)):
                shards.append(_write_shard(split, index, of, listed, layout, output))
        return shards


@contextlib.contextmanager
def _sorted_images(
    images: Iterable[Image], layout: Layout
) -> Iterator[tuple[sqlite3.Connection, dict[str, int]]]:
    """Spools all images to a temporary database; gives it, and how many belong to each split."""
    with tempfile.TemporaryDirectory(prefix="linewash-") as folder:
        database = sqlite3.connect(f"{folder}/images.sqlite", isolation_level=None)
        try:
            database.execute("PRAGMA journal_mode=OFF")
            database.execute("PRAGMA synchronous=OFF")
            database.execute("CREATE TABLE images (hash BLOB, key TEXT, path TEXT)")
            rows = ((hash_key(layout.seed, i.key).to_bytes(8, "big"), i.key, i.path) for i in images)
            database.execute("BEGIN")
            while batch := list(islice(rows, 10_000)):
                database.executemany("INSERT INTO images VALUES (?, ?, ?)", batch)
            database.execute("CREATE INDEX by_hash ON images (hash, key)")
            database.execute("COMMIT")
            _check_duplicates(database)
            yield database, _counts(database, layout)
        finally:
            database.close()


def _check_duplicates(database: sqlite3.Connection) -> None:
    query = "SELECT key, min(path), max(path) FROM images GROUP BY hash, key HAVING count(*) > 1 LIMIT 1"
    if duplicate := database.execute(query).fetchone():
        key, first, last = duplicate
        where = f"{first} and {last}" if first != last else f"{first}, found by two --input patterns"
        raise SourceError(f"two images have the key {key}: {where}; rename one, or name fewer inputs")


def _counts(database: sqlite3.Connection, layout: Layout) -> dict[str, int]:
    boundary = layout.boundary.to_bytes(8, "big")
    (val,) = database.execute("SELECT count(*) FROM images WHERE hash < ?", (boundary,)).fetchone()
    (total,) = database.execute("SELECT count(*) FROM images").fetchone()
    if layout.val_fraction and not (0 < val < total):
        empty = "train" if val else "val"
        raise SourceError(
            f"no image of {total} went to the {empty} split at --val_fraction {layout.val_fraction}; "
            "give another fraction, --val_fraction 0 for none, or another --seed"
        )
    return {"train": total - val, "val": val}


def _splits(
    database: sqlite3.Connection, layout: Layout, counts: dict[str, int]
) -> Iterator[tuple[str, Iterator[tuple[int, str, str]], tuple[int, int]]]:
    """Yields (split, rows in hash order, the split's range of hashes)."""
    for split, low, high in (("train", layout.boundary, 2**HASH_BITS), ("val", 0, layout.boundary)):
        if counts[split]:
            found = database.execute(
                "SELECT hash, key, path FROM images WHERE hash >= ? AND hash <= ? ORDER BY hash, key",
                (low.to_bytes(8, "big"), (high - 1).to_bytes(8, "big")),
            )
            yield split, ((int.from_bytes(h, "big"), key, path) for h, key, path in found), (low, high)


def _by_shard(
    rows: Iterator[tuple[int, str, str]], hashes: tuple[int, int], of: int
) -> Iterator[list[tuple[str, str]]]:
    """Cuts rows in hash order into `of` lists of (key, path), empty ones included."""
    low, high = hashes
    done = 0
    for index, group in groupby(rows, key=lambda row: (row[0] - low) * of // (high - low)):
        yield from ([] for _ in range(done, index))
        yield [(key, path) for _, key, path in group]
        done = index + 1
    yield from ([] for _ in range(done, of))


def _write_shard(
    split: str, index: int, of: int, images: list[tuple[str, str]], layout: Layout, output: str
) -> Shard:
    name = shard_name(split, index, of, layout.compression)
    plan = f"{storage.WORK_DIR}/plan/{split}-{index:05d}.jsonl"
    storage.write(output, plan, b"".join(json.dumps(image).encode() + b"\n" for image in images))
    return Shard(
        split=split,
        name=name,
        plan=storage.join(output, plan),
        images=len(images),
        images_digest=digest_keys(key for key, _ in images),
        key_bytes=max((len(key.encode()) for key, _ in images), default=1),
    )


def digest_keys(keys: Iterable[str]) -> str:
    """16 hex digits that tell one list of keys from another."""
    digest = hashlib.sha256()
    for key in keys:
        digest.update(key.encode() + b"\n")
    return digest.hexdigest()[:16]


def read_plan(path: str) -> list[Image]:
    """A shard's images, in the order in which they stand in it."""
    return [Image(*json.loads(line)) for line in storage.read(path).splitlines()]
