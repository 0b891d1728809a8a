"""Assigns images to shards, orders the images of each shard, and writes the shard lists.

A hash of (seed, key) decides everything, so that the shards do not depend on the order of the listing, the
runner or the number of workers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Literal

from preprocess.image_index import (
    HASH_BITS,
    Entry,
    ImageIndex,
    Subset,
    open_image_index,
)
from preprocess.rejects import NO_COLOR, NO_DRAWING
from preprocess.sources import Image, Location, SourceError
from preprocess.storage import files
from tfrecords_schema import SPLITS, Compression, shard_name

# About 19 MB at 128 px: large enough to be read as a stream, small enough to balance the load of the workers
# and to lose little work in a crash.
IMAGES_PER_SHARD = 1024
ALL_IMAGES = Subset()
MAX_SEED = 2**63 - 1  # every reader of the manifest can hold an integer of 64 bits

SplitBy = Literal["hash", "series", "folder", "input"]


@dataclasses.dataclass(frozen=True)
class Sharding:
    """The settings that assign images to splits and shards.

    Raises:
      ValueError: a setting is out of range; the message names the setting and the range.
    """

    seed: int = 0
    # hash: of the key; series: a hash of `series_of` the key; folder: the first folder of the key; input: the
    # input flag
    split_by: SplitBy = "hash"
    val_fraction: float = 0.05  # of the images, 0 to 0.9; only with split_by "hash" and "series"
    num_shards: int = 0  # of the train split; 0: chosen by the number of images
    compression: Compression = "none"
    keys_with_input: bool = False  # keys begin with the name of the input; two inputs may have the same keys

    def __post_init__(self) -> None:
        if not -MAX_SEED <= self.seed <= MAX_SEED:
            raise ValueError(f"seed must be from {-MAX_SEED} to {MAX_SEED}, got {self.seed}")
        if not 0 <= self.val_fraction <= 0.9:
            raise ValueError(f"val_fraction must be from 0 to 0.9, got {self.val_fraction}")
        if not 0 <= self.num_shards <= 99_999:
            raise ValueError(f"num_shards must be from 0 (automatic) to 99999, got {self.num_shards}")

    def hash_range(self, split: str) -> tuple[int, int]:
        """Returns the range of hashes of a split's images, as (low, high) with `high` excluded."""
        if self.split_by != "hash":
            return 0, 2**HASH_BITS
        return (0, self.val_hash_end) if split == "val" else (self.val_hash_end, 2**HASH_BITS)

    @property
    def is_random(self) -> bool:
        """Whether `val_fraction` decides how many images are in val."""
        return self.split_by in ("hash", "series")

    @property
    def val_hash_end(self) -> int:
        """The end of the range of hashes that mean val, if the split is random."""
        return int(self.val_fraction * 2**HASH_BITS)


@dataclasses.dataclass(frozen=True)
class Shard:
    """A shard to write, with its images listed in a file."""

    split: str
    name: str  # relative to the dataset directory
    list_path: str  # of the shard list, a JSON Lines file with one array per image
    num_images: int
    images_digest: str  # of the keys
    key_bytes: int  # of the longest key


def default_num_shards(num_images: int) -> int:
    """Returns one shard per 1,024 images, or up to 32 smaller ones, so that a small job uses all cores."""
    return max(-(-num_images // IMAGES_PER_SHARD), min(32, -(-num_images // 64)))


def make_plan(
    images: Iterable[Image],
    sharding: Sharding,
    output: str,
    subset: Subset = ALL_IMAGES,
    drawings: Iterable[Image] | None = None,
) -> list[Shard]:
    """Assigns the images to shards and writes the shard lists below `output`/.work/plan.

    Args:
      images: the images that were found.
      sharding: how they are assigned.
      output: the dataset directory.
      subset: which images are used.
      drawings: the drawings of the images, which are joined to them by their stems. None: they have none.

    Raises:
      SourceError: two images have the same key, a split has no image, or see `open_image_index`.
    """
    settings = (sharding.seed, subset, sharding.split_by, sharding.val_hash_end, sharding.keys_with_input)
    with open_image_index(images, *settings, drawings) as index:
        _check_splits(index, sharding)
        return [shard for split in SPLITS for shard in _plan_split(index, split, sharding, output)]


def _check_splits(index: ImageIndex, sharding: Sharding) -> None:
    empty = [split for split in SPLITS if not index.count(split)]
    total = sum(index.count(split) for split in SPLITS)
    if not total:
        raise SourceError("no image is left: widen --classes, --fraction or --limit")
    if sharding.is_random and sharding.val_fraction and empty:
        raise SourceError(
            f"no image of {total} went to the {empty[0]} split at --val_fraction {sharding.val_fraction}; "
            "give another fraction, --val_fraction 0 for none, or another --seed"
        )
    if "train" in empty or (not sharding.is_random and empty):
        raise SourceError(f"no image of {total} is in the {empty[0]} split: nothing was found for it")


def _plan_split(index: ImageIndex, split: str, sharding: Sharding, output: str) -> Iterator[Shard]:
    """Writes the shard lists of a split and yields its shards."""
    num_shards = _num_shards(index, sharding, split)
    shard_lists = images_by_shard(index.entries(split), sharding.hash_range(split), num_shards)
    for number, images in enumerate(shard_lists):
        list_name = f"{files.WORK_DIR}/plan/{split}-{number:05d}.jsonl"
        write_shard_list(output, list_name, images)
        yield Shard(
            split=split,
            name=shard_name(split, number, num_shards, sharding.compression),
            list_path=files.join(output, list_name),
            num_images=len(images),
            images_digest=digest_keys(map(_identity, images)),
            key_bytes=max((len(image.key.encode()) for image in images), default=1),
        )


def _to_line(image: Image) -> str:
    """Returns the line of an image in a shard list. The inverse is in `read_shard_list`."""
    drawing = dataclasses.astuple(image.drawing) if image.drawing else ()
    return json.dumps([image.key, image.path, image.offset, image.size, image.fault, *drawing]) + "\n"


def _identity(image: Image) -> str:
    """Returns the key of an image, and that it lacks its other half: when it is found, the shard changes."""
    reason = image.fault.partition(":")[0]
    return f"{image.key}\0{reason}" if reason in (NO_DRAWING, NO_COLOR) else image.key


def _num_shards(index: ImageIndex, sharding: Sharding, split: str) -> int:
    """Returns the number of shards of a split. Val shards are about as large as train shards."""
    num_images, num_train = index.count(split), index.count("train")
    if not num_images:
        return 0
    num_shards = sharding.num_shards or default_num_shards(num_train)
    return num_shards if split == "train" else max(1, round(num_shards * num_images / num_train))


def images_by_shard(
    entries: Iterator[Entry], hash_range: tuple[int, int], num_shards: int
) -> Iterator[list[Image]]:
    """Yields the images of each shard.

    Args:
      entries: in the order of their hashes.
      hashes: the range of the hashes, upper end excluded. Each shard has an equal part of it.
      num_shards: the number of lists to yield; some may be empty.
    """
    low, high = hash_range
    next_number = 0
    for number, group in groupby(entries, key=lambda entry: (entry.hash - low) * num_shards // (high - low)):
        yield from ([] for _ in range(next_number, number))
        yield [entry.image for entry in group]
        next_number = number + 1
    yield from ([] for _ in range(next_number, num_shards))


def digest_keys(keys: Iterable[str]) -> str:
    """Returns 16 hex digits that identify a list of keys."""
    digest = hashlib.sha256()
    for key in keys:
        digest.update(key.encode() + b"\n")
    return digest.hexdigest()[:16]


def write_shard_list(output: str, name: str, images: list[Image]) -> None:
    """Writes a shard list as the file `output`/`name`."""
    files.write(output, name, "".join(map(_to_line, images)).encode())


def read_shard_list(path: str) -> list[Image]:
    """Reads a shard list: the images of a shard, in the order of its records."""
    rows = (json.loads(line) for line in files.read(path).splitlines())
    return [
        Image(key, path, offset, size, fault=fault, drawing=Location(*drawing) if drawing else None)
        for key, path, offset, size, fault, *drawing in rows
    ]
