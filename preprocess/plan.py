"""Decides which shard an image goes to and where it stands in it, and writes one list for each shard.

Everything follows from a hash of (seed, key), so that neither the order of listing, nor the runner, nor the
number of workers can change a byte.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Literal

from preprocess.image_index import HASH_BITS, Entry, ImageIndex, Subset, open_image_index
from preprocess.sources import Image, SourceError
from preprocess.storage import files
from tfrecords_schema import SPLITS, Compression, shard_name

# About 19 MB at 128 px: small enough to lose one and to share out evenly, large enough to stream.
IMAGES_PER_SHARD = 1024
EVERYTHING = Subset()
LARGEST_SEED = 2**63 - 1  # the manifest holds it as an integer, of which every reader knows 64 bits

SplitBy = Literal["hash", "folder", "input"]


@dataclasses.dataclass(frozen=True)
class Sharding:
    """What decides where a record goes.

    Raises:
      ValueError: a setting is out of range; the message says which, and the range.
    """

    seed: int = 0
    split: SplitBy = "hash"  # folder: as the key says; input: as the command line says
    val_fraction: float = 0.05  # with split hash: share of the images, 0 to 0.9, that goes to val
    num_shards: int = 0  # of the train split; 0: by the number of images; val gets its share of as many
    compression: Compression = "none"
    keys_with_input: bool = False  # keys begin with the name of the input, so that two may hold the same keys

    def __post_init__(self) -> None:
        if not -LARGEST_SEED <= self.seed <= LARGEST_SEED:
            raise ValueError(f"seed must be from {-LARGEST_SEED} to {LARGEST_SEED}, got {self.seed}")
        if not 0 <= self.val_fraction <= 0.9:
            raise ValueError(f"val_fraction must be from 0 to 0.9, got {self.val_fraction}")
        if not 0 <= self.num_shards <= 99_999:
            raise ValueError(f"num_shards must be from 0 (automatic) to 99999, got {self.num_shards}")

    def hashes(self, split: str) -> tuple[int, int]:
        """The range of hashes, upper end excluded, over which a split's images are spread."""
        if self.split != "hash":
            return 0, 2**HASH_BITS
        boundary = int(self.val_fraction * 2**HASH_BITS)
        return (0, boundary) if split == "val" else (boundary, 2**HASH_BITS)


@dataclasses.dataclass(frozen=True)
class Shard:
    """One shard to write: `images` of them, listed in the file `plan` as one JSON array a line."""

    split: str
    name: str
    plan: str
    images: int
    images_digest: str
    key_bytes: int


def default_num_shards(images: int) -> int:
    """Full shards for a large split; for a small one up to 32, so that all cores and the bar have work."""
    return max(-(-images // IMAGES_PER_SHARD), min(32, -(-images // 64)))


def make_plan(
    images: Iterable[Image], layout: Sharding, output: str, subset: Subset = EVERYTHING
) -> list[Shard]:
    """Shares the images out to shards and writes each shard's list below `output`/.work/plan.

    Raises:
      SourceError: two images have one key, a split got no image, or see `open_image_index`.
    """
    boundary = layout.hashes("val")[1]
    how = (layout.seed, subset, layout.split, boundary, layout.keys_with_input)
    with open_image_index(images, *how) as index:
        _check_splits(index, layout)
        shards = []
        for split in SPLITS:
            num_shards = _num_shards(index, layout, split)
            lists = by_shard(index.entries(split), layout.hashes(split), num_shards)
            for number, shard_images in enumerate(lists):
                shards.append(
                    _write_list(split, number, num_shards, shard_images, layout.compression, output)
                )
        return shards


def _check_splits(index: ImageIndex, layout: Sharding) -> None:
    empty = [split for split in SPLITS if not index.count(split)]
    total = sum(index.count(split) for split in SPLITS)
    if not total:
        raise SourceError("no image is left: widen --classes, --fraction or --limit")
    if layout.split == "hash" and layout.val_fraction and empty:
        raise SourceError(
            f"no image of {total} went to the {empty[0]} split at --val_fraction {layout.val_fraction}; "
            "give another fraction, --val_fraction 0 for none, or another --seed"
        )
    if "train" in empty or (layout.split != "hash" and empty):
        raise SourceError(f"no image of {total} is in the {empty[0]} split: nothing was found for it")


def _num_shards(index: ImageIndex, layout: Sharding, split: str) -> int:
    """A val shard is as full as a train shard; an empty split has none."""
    images, train = index.count(split), index.count("train")
    if not images:
        return 0
    num_shards = layout.num_shards or default_num_shards(train)
    return num_shards if split == "train" else max(1, round(num_shards * images / train))


def by_shard(entries: Iterator[Entry], hashes: tuple[int, int], num_shards: int) -> Iterator[list[Image]]:
    """Cuts entries in the order of their hashes into `num_shards` lists, each of an equal range of hashes."""
    low, high = hashes
    done = 0
    for number, group in groupby(entries, key=lambda entry: (entry.hash - low) * num_shards // (high - low)):
        yield from ([] for _ in range(done, number))
        yield [entry.image for entry in group]
        done = number + 1
    yield from ([] for _ in range(done, num_shards))


def _write_list(
    split: str, number: int, num_shards: int, images: list[Image], compression: Compression, output: str
) -> Shard:
    plan = f"{files.WORK_DIR}/plan/{split}-{number:05d}.jsonl"
    lines = [json.dumps([i.key, i.path, i.offset, i.size, i.fault]) + "\n" for i in images]
    files.write(output, plan, "".join(lines).encode())
    return Shard(
        split=split,
        name=shard_name(split, number, num_shards, compression),
        plan=files.join(output, plan),
        images=len(images),
        images_digest=digest_keys(image.key for image in images),
        key_bytes=max((len(image.key.encode()) for image in images), default=1),
    )


def digest_keys(keys: Iterable[str]) -> str:
    """16 hex digits that tell one list of keys from another."""
    digest = hashlib.sha256()
    for key in keys:
        digest.update(key.encode() + b"\n")
    return digest.hexdigest()[:16]


def read_plan(path: str) -> list[Image]:
    """A shard's images, in the order in which they stand in it."""
    rows = (json.loads(line) for line in files.read(path).splitlines())
    return [Image(key, path, offset, size, fault=fault) for key, path, offset, size, fault in rows]
