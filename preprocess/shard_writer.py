"""Writes one shard: its images are read, converted and written, and then its receipt."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

import cv2
import numpy as np

from preprocess.image_reader import read_all
from preprocess.plan import Shard, read_plan
from preprocess.posterize import label_histogram
from preprocess.recipe import Recipe
from preprocess.rejects import Rejected
from preprocess.runners.shard_queue import CurrentImage
from preprocess.sources import Image
from preprocess.storage import files
from preprocess.transform import transform
from tfrecords_schema import (
    SCHEMA_VERSION,
    Compression,
    RecordLayout,
    Reject,
    SchemaError,
    ShardInfo,
    ShardReceipt,
    encode_example,
    frame_record,
    pack_edges,
)


class ImageError(RuntimeError):
    """Anything but a reject went wrong with one image, such as too little memory; the message names it."""


@dataclasses.dataclass
class _Tally:
    """What a shard's records add up to, counted as they pass."""

    histogram: np.ndarray
    examples: int = 0
    edge_pixels: int = 0
    rejects: list[Reject] = dataclasses.field(default_factory=list)


def write_shard(
    shard: Shard,
    recipe: Recipe,
    compression: Compression,
    output: str,
    begin: Callable[[int], None] = lambda number: None,
) -> ShardReceipt:
    """Converts every image of `shard` and writes the shard and then its receipt below `output`.

    Both appear whole or not at all. The same images and recipe give the same bytes. A shard that already
    stands is left alone: a runner that starts over after a fault then loses only what was in flight.

    Args:
      begin: called with the number of each image before it is read, and with their count after the last.

    Raises:
      OSError: the output cannot be written. (An image that cannot be read is a reject, not an error.)
      ImageError: something else went wrong with an image.
    """
    if standing := _read_finished_receipt(shard, recipe, output):
        return standing
    cv2.setNumThreads(1)  # the runner already has a process a core
    tally = _Tally(np.zeros(len(recipe.palette), np.int64))
    with files.atomic_write(output, shard.name) as file:
        sink = _HashingFile(file)
        # No name and no time in the gzip header: same images, same bytes.
        packed = gzip.GzipFile("", "wb", 6, sink, mtime=0) if compression == "gzip" else None
        for record in _records(shard, recipe, tally, begin):
            (packed or sink).write(record)
        if packed:
            packed.close()
    receipt = _receipt(shard, recipe, compression, tally, sink)
    files.write(output, ShardReceipt.name(shard.name), receipt.to_json())
    return receipt


def _read_finished_receipt(shard: Shard, recipe: Recipe, output: str) -> ShardReceipt | None:
    """The receipt of the very shard asked for, if it is there already."""
    name = ShardReceipt.name(shard.name)
    if files.size(files.join(output, name)) < 0:
        return None
    try:
        receipt = ShardReceipt.from_json(files.read(files.join(output, name)), name)
    except SchemaError:
        return None
    wanted = (shard.name, shard.images_digest, recipe.fingerprint)
    found = (receipt.shard.name, receipt.images_digest, receipt.fingerprint)
    whole = files.size(files.join(output, shard.name)) == receipt.shard.bytes
    return receipt if found == wanted and whole else None


def _records(shard: Shard, recipe: Recipe, tally: _Tally, begin: Callable[[int], None]) -> Iterator[bytes]:
    """Framed records of the images that pass, in order; counts them and the rejects into `tally`."""
    images = read_plan(shard.plan)
    number = 0
    begin(number)
    try:
        for image, data in read_all(images, recipe.max_pixels):
            record = _record(image, data, shard.key_bytes, recipe, tally)
            number += 1
            begin(number)  # also what follows is read ahead of its turn
            if record:
                yield record
    except Exception as e:
        current_image = CurrentImage(shard, number, images[number] if number < len(images) else None)
        cause = " ".join(f"{type(e).__name__}: {e}".split()).removesuffix(":")
        raise ImageError(f"{current_image}: {cause}; if this happens again, leave that image out") from e


def _record(
    image: Image, data: bytes | Rejected, key_bytes: int, recipe: Recipe, tally: _Tally
) -> bytes | None:
    """The framed record of an image, counted into `tally`; None for a reject."""
    try:
        if isinstance(data, Rejected):
            raise data
        edges, labels = transform(data, recipe)
    except Rejected as e:
        tally.rejects.append(Reject(image.key, e.reason, e.detail))
        return None
    tally.examples += 1
    tally.edge_pixels += int(np.count_nonzero(edges))
    tally.histogram += label_histogram(labels, len(tally.histogram))
    key = image.key.encode().ljust(key_bytes, b"\0")
    labels = labels.astype(recipe.palette.label_dtype, copy=False)
    return frame_record(encode_example(key, pack_edges(edges), labels.tobytes()))


class _HashingFile:
    """Passes bytes on to `file`, counting and hashing them."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.bytes = 0

    def write(self, data: bytes) -> int:
        self._file.write(data)
        self._digest.update(data)
        self.bytes += len(data)
        return len(data)

    def flush(self) -> None:
        """gzip asks for it."""

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def _receipt(
    shard: Shard, recipe: Recipe, compression: Compression, tally: _Tally, sink: _HashingFile
) -> ShardReceipt:
    labels_bytes = recipe.image_size**2 * recipe.palette.label_dtype.itemsize
    layout = RecordLayout.from_sizes(shard.key_bytes, recipe.image_size**2 // 8, labels_bytes)
    return ShardReceipt(
        schema_version=SCHEMA_VERSION,
        split=shard.split,
        shard=ShardInfo(
            name=shard.name,
            examples=tally.examples,
            bytes=sink.bytes,
            sha256=sink.sha256,
            layout=layout if compression == "none" else None,
        ),
        fingerprint=recipe.fingerprint,
        images_digest=shard.images_digest,
        label_histogram=tally.histogram.tolist(),
        edge_pixels=tally.edge_pixels,
        rejects=tally.rejects,
    )
