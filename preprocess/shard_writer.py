"""Writes a shard: reads and converts its images, writes the records, and then the receipt."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

import cv2
import numpy as np

from preprocess.image_reader import ImageBytes, read_images
from preprocess.plan import Shard, read_shard_list
from preprocess.posterize import label_histogram
from preprocess.recipe import Recipe
from preprocess.rejects import Rejected
from preprocess.runners.shard_queue import CurrentImage
from preprocess.sources import Image
from preprocess.stage_timer import StageTimer
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
    """An unexpected error while an image was converted, for example too little memory."""


@dataclasses.dataclass
class _Totals:
    """The totals of a shard, counted while its records are written."""

    histogram: np.ndarray  # int64 [K]
    edge_pixels: np.ndarray  # int64 [L]
    examples: int = 0
    rejects: list[Reject] = dataclasses.field(default_factory=list)


def write_shard(
    shard: Shard,
    recipe: Recipe,
    compression: Compression,
    output: str,
    begin: Callable[[int], None] = lambda number: None,
    timer: StageTimer | None = None,
) -> ShardReceipt:
    """Converts the images of `shard`, writes the shard below `output`, and then its receipt.

    Both files are written atomically. The same images and recipe give the same bytes. A shard that is already
    finished is not written again, so that a restarted runner continues where it failed.

    Args:
      shard: the shard, whose shard list was written by `make_plan`.
      recipe: how images are converted.
      compression: of the shard.
      output: the dataset directory.
      begin: called with the number of each image before it is read, and with their count after the last.
      timer: measures the stages of the conversion; it has no effect on the bytes.

    Raises:
      OSError: the output cannot be written. (An image that cannot be read is rejected, which is no error.)
      ImageError: an unexpected error while an image was converted.
    """
    if receipt := _read_finished_receipt(shard, recipe, output):
        return receipt
    cv2.setNumThreads(1)  # the runner starts one process per core
    totals = _Totals(np.zeros(len(recipe.known_palette), np.int64), np.zeros(len(recipe.lines), np.int64))
    with files.atomic_write(output, shard.name) as file:
        hashing_file = _HashingFile(file)
        # The gzip header has neither name nor time, so that the same images give the same bytes.
        gzip_file = gzip.GzipFile("", "wb", 6, hashing_file, mtime=0) if compression == "gzip" else None
        for record in _records(shard, recipe, totals, begin, timer or StageTimer()):
            (gzip_file or hashing_file).write(record)
        if gzip_file:
            gzip_file.close()
    receipt = _receipt(shard, recipe, compression, totals, hashing_file)
    files.write(output, ShardReceipt.name(shard.name), receipt.to_json())
    return receipt


def _read_finished_receipt(shard: Shard, recipe: Recipe, output: str) -> ShardReceipt | None:
    """Returns the receipt of `shard` if the shard is finished with the same images and recipe."""
    name = ShardReceipt.name(shard.name)
    if files.size(files.join(output, name)) < 0:
        return None
    try:
        receipt = ShardReceipt.from_json(files.read(files.join(output, name)), name)
    except SchemaError:
        return None
    expected = (shard.name, shard.images_digest, recipe.fingerprint)
    actual = (receipt.shard.name, receipt.images_digest, receipt.fingerprint)
    is_whole = files.size(files.join(output, shard.name)) == receipt.shard.bytes
    return receipt if actual == expected and is_whole else None


def _records(
    shard: Shard, recipe: Recipe, totals: _Totals, begin: Callable[[int], None], timer: StageTimer
) -> Iterator[bytes]:
    """Yields the framed records of the images, in order, and adds them and the rejects to `totals`."""
    images = read_shard_list(shard.list_path)
    number = 0
    begin(number)
    timer.restart()
    try:
        for image, data in read_images(images, recipe.max_pixels):
            timer.end("read")
            record = _record(image, data, shard.key_bytes, recipe, totals, timer)
            number += 1
            begin(number)  # before the yield, because the next image is read after it
            if record:
                yield record  # the caller writes it before the next line runs
                timer.end("write")
            else:
                timer.restart()
    except Exception as e:
        current = CurrentImage(shard, number, images[number] if number < len(images) else None)
        cause = " ".join(f"{type(e).__name__}: {e}".split()).removesuffix(":")
        raise ImageError(f"{current}: {cause}; if this happens again, move the image out of the input") from e


def _record(
    image: Image,
    data: ImageBytes | Rejected,
    key_bytes: int,
    recipe: Recipe,
    totals: _Totals,
    timer: StageTimer,
) -> bytes | None:
    """Returns the framed record of an image and adds it to `totals`; None if the image is rejected."""
    try:
        if isinstance(data, Rejected):
            raise data
        edges, labels = transform(data.image, recipe, data.drawing, timer.end)
    except Rejected as e:
        totals.rejects.append(Reject(image.key, e.reason, e.detail))
        return None
    totals.examples += 1
    totals.edge_pixels += [np.count_nonzero(line_map) for line_map in edges]
    totals.histogram += label_histogram(labels, len(totals.histogram))
    key = image.key.encode().ljust(key_bytes, b"\0")
    labels = labels.astype(recipe.known_palette.label_dtype, copy=False)
    return frame_record(encode_example(key, pack_edges(edges), labels.tobytes()))


class _HashingFile:
    """Writes to `file`, and counts and hashes the bytes."""

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
        """Called by gzip."""

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def _receipt(
    shard: Shard, recipe: Recipe, compression: Compression, totals: _Totals, file: _HashingFile
) -> ShardReceipt:
    pixels = recipe.image_size**2
    edges_bytes = len(recipe.lines) * pixels // 8
    labels_bytes = pixels * recipe.known_palette.label_dtype.itemsize
    layout = RecordLayout.from_sizes(shard.key_bytes, edges_bytes, labels_bytes)
    return ShardReceipt(
        schema_version=SCHEMA_VERSION,
        split=shard.split,
        shard=ShardInfo(
            name=shard.name,
            examples=totals.examples,
            bytes=file.bytes,
            sha256=file.sha256,
            layout=layout if compression == "none" else None,
        ),
        fingerprint=recipe.fingerprint,
        images_digest=shard.images_digest,
        label_histogram=totals.histogram.tolist(),
        edge_pixels=totals.edge_pixels.tolist(),
        rejects=totals.rejects,
    )
