"""Reads a dataset of TFRecord shards as batches of packed examples.

Edges stay packed at one bit per pixel and labels at one or two bytes, because batches travel to the
accelerator; they are unpacked there. TensorFlow is imported only where it is used, so that a wrong path is
reported before TensorFlow starts.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

import tfrecords_schema as schema
from tfrecords_schema import Manifest, ShardInfo
from training.data import fixed_length_reader, storage
from training.errors import UsageError, WorkError

if TYPE_CHECKING:
    import tensorflow as tf

# Shards read at a time: enough to mix their examples, few enough to keep reads sequential.
SHARDS_AT_ONCE = 8
# The defaults of conf/data, for users of the Python API.
SHUFFLE_BUFFER = 2048
SHUFFLE_MEGABYTES = 512


class Batch(NamedTuple):
    """A batch of packed examples.

    Attributes:
      edges: uint8 [B, S*S/8], the map of one line style per example: one bit per pixel, most significant bit
        first; see `unpack_edges`.
      labels: uint8 or uint16 [B, S, S], indices into the palette.
      ids: int32 [B], hashes of the examples' keys. They seed the augmentation of each example.
    """

    edges: tf.Tensor
    labels: tf.Tensor
    ids: tf.Tensor


class ShuffleBuffer(NamedTuple):
    """How many records are shuffled together, and how many of them are read from one shard at a time."""

    records: int
    range_records: int

    @classmethod
    def from_limits(cls, manifest: Manifest, records: int, megabytes: int | None) -> ShuffleBuffer:
        """Returns a buffer of `records`, or of as many as fit into `megabytes` (at least one).

        A range takes at most an eighth of the limit, so that several shards are mixed.
        """
        if megabytes is None:
            return cls(records, fixed_length_reader.RANGE_RECORDS)
        pixels = manifest.image_size**2
        edges_bytes = len(manifest.lines) * pixels // 8
        record_bytes = edges_bytes + pixels * np.dtype(manifest.label_dtype).itemsize
        fitting = max(1, megabytes * 1_000_000 // record_bytes)
        range_records = max(1, min(fixed_length_reader.RANGE_RECORDS, fitting // SHARDS_AT_ONCE))
        # Ranges are read whole, so that the last one may exceed the number by all its records but one.
        return cls(min(records, fitting - range_records + 1), range_records)


# Takes the packed edges of a batch, uint8 [B, L, S*S/8], and the ids of its examples, int32 [B].
# Returns the map of one line style per example, uint8 [B, S*S/8].
ChooseLines = Callable[["tf.Tensor", "tf.Tensor"], "tf.Tensor"]


def draw_lines(edges: tf.Tensor, ids: tf.Tensor, seed: int, epoch: int) -> tf.Tensor:
    """Draws one of the L line styles for each example, with equal probability.

    The style is a function of (seed, epoch, id), and so does not depend on the batch or on resuming.

    Args:
      edges: packed edges, uint8 [B, L, S*S/8].
      ids: int32 [B].
      seed: the seed of the run.
      epoch: the number of the epoch.

    Returns:
      uint8 [B, S*S/8].
    """
    import tensorflow as tf

    from training.data.stateless_random import StatelessRandom

    num_lines = edges.shape[1]
    if num_lines == 1:
        return tf.squeeze(edges, 1)
    uniform = StatelessRandom(seed, tf.constant(epoch), ids).uniform_scalar("lines")
    return tf.gather(edges, tf.cast(uniform * num_lines, tf.int32), batch_dims=1)


@dataclass(frozen=True)
class ShardedDataset:
    """A dataset written by `python -m preprocess`: its directory or bucket, and its manifest.

    Iterating over a split yields `Batch` tuples of eager tensors, for images of S × S pixels:

    ========  ===============  ============  ==========================================
    element   dtype            shape         values
    ========  ===============  ============  ==========================================
    edges     uint8            [B, S*S/8]    one bit per pixel, most significant first
    labels    uint8 or uint16  [B, S, S]     indices into `manifest.palette`
    ids       int32            [B]           hashes of the examples' keys
    ========  ===============  ============  ==========================================

    Example:
      >>> from training.data.dataset import ShardedDataset
      >>> from training.data.unpack import unpack_edges
      >>> dataset = ShardedDataset.open("dataset/")
      >>> for batch in dataset.train(batch_size=16, seed=0, epoch=1):
      ...     edges = unpack_edges(batch.edges, dataset.manifest.image_size)  # float32 [16, S, S, 1]
      ...     colors = dataset.manifest.palette.to_rgb(batch.labels.numpy())  # uint8 [16, S, S, 3]

    Attributes:
      root: a local directory, or a URL that TensorFlow can read, such as gs://BUCKET/dataset.
      manifest: image size, palette, and the shards of each split.
    """

    root: str
    manifest: Manifest

    @classmethod
    def open(cls, root: str) -> ShardedDataset:
        """Opens the dataset at `root` and checks that every shard of its manifest exists in full.

        Raises:
          UsageError: `root` is not a dataset, or has another schema version, or TensorFlow cannot read it.
          WorkError: a shard is missing or differs in size from the manifest, or the storage failed.
        """
        if not storage.is_remote(root) and not Path(root).is_dir():
            raise UsageError(
                f"data.root={root}: there is no such directory; "
                f"make it with python -m preprocess --output {root}"
            )
        try:
            manifest = storage.with_retries(lambda: Manifest.load(root))
            _check_sizes(root, [shard for split in manifest.splits.values() for shard in split.shards])
        except schema.SchemaError as e:
            raise UsageError(f"data.root={root}: {e}") from e
        except OSError as e:
            if e.errno == errno.EPROTONOSUPPORT:
                raise UsageError(
                    f"data.root={root}: TensorFlow cannot read this kind of path ({e.strerror}): copy the "
                    "dataset to a disk or to gs://"
                ) from e
            raise storage.explain_read_error(e, root) from e
        return cls(root, manifest)

    def examples(self, split: str) -> int:
        """Returns the number of examples of a split; 0 when the dataset has no such split."""
        splits = self.manifest.splits
        return splits[split].examples if split in splits else 0

    @property
    def selection_split(self) -> str:
        """The split that chooses the best epoch: val, or train when there is no validation example."""
        return "val" if self.examples("val") else "train"

    def train(
        self,
        batch_size: int = 16,
        *,
        seed: int = 0,
        epoch: int = 1,
        skip: int = 0,
        shuffle_buffer: int = SHUFFLE_BUFFER,
        shuffle_megabytes: int | None = SHUFFLE_MEGABYTES,
    ) -> Iterator[Batch]:
        """Yields one epoch of shuffled batches of the training split.

        The order is a function of (seed, epoch) and of the shuffle buffer. All batches have `batch_size`
        examples: the remainder, a different one in each epoch, is dropped. If the dataset has several line
        styles, one is drawn for each example; see `draw_lines`.

        Args:
          batch_size: examples per batch.
          seed: a number that is constant for a training run.
          epoch: the number of the epoch; each number gives another order.
          skip: batches to skip at the beginning, for a run that resumes within an epoch.
          shuffle_buffer: records that are shuffled together. The shards are already in hash order, so that
            a few thousand are enough.
          shuffle_megabytes: limit of these records in MB (10^6 bytes), or None for no limit. It changes the
            order only if the images are so large that fewer records fit.

        Raises:
          UsageError: the dataset has no training examples.
          WorkError: a record is damaged, a shard contradicts its layout, or the storage failed.
        """
        self._require_examples("train")
        buffer = ShuffleBuffer.from_limits(self.manifest, shuffle_buffer, shuffle_megabytes)
        if all(shard.layout for shard in self._shards("train")):
            return self._read_fixed_length(batch_size, seed, epoch, skip, buffer)
        return read_batches(self._read_compressed(batch_size, seed, epoch, skip, buffer.records), self.root)

    def eval(self, split: str, batch_size: int = 16, lines: str | None = None) -> Iterator[Batch]:
        """Yields every example of a split once, in the order of the shards; the last batch may be smaller.

        Args:
          split: train or val.
          batch_size: examples per batch.
          lines: name of the line style, by default the first of the manifest.

        Raises:
          UsageError: the split has no examples, or the dataset does not have the line style.
          WorkError: a record is damaged or differs from the manifest, or the storage failed.
        """
        self._require_examples(split)
        line = self.line_index(lines)
        return read_batches(
            self._read_in_order(split, batch_size, lambda edges, _: edges[:, line]), self.root
        )

    def line_index(self, lines: str | None) -> int:
        """Returns the index of a line style among those of the manifest; 0 if `lines` is None.

        Raises:
          UsageError: the dataset does not have this line style.
        """
        if lines is None:
            return 0
        if lines not in self.manifest.lines:
            names = ", ".join(self.manifest.lines)
            raise UsageError(f"lines={lines}: {self.root} has no such line style, only {names}")
        return self.manifest.lines.index(lines)

    def _require_examples(self, split: str) -> None:
        if not self.examples(split):
            raise UsageError(f"data.root={self.root}: there are no {split} examples; preprocess more images")

    def _shards(self, split: str) -> list[ShardInfo]:
        return [shard for shard in self.manifest.splits[split].shards if shard.examples]

    def _path(self, shard: ShardInfo) -> str:
        return f"{self.root.rstrip('/')}/{shard.name}"

    def _read_fixed_length(
        self, batch_size: int, seed: int, epoch: int, skip: int, buffer: ShuffleBuffer
    ) -> Iterator[Batch]:
        """Reads uncompressed shards without tf.data, which would spend most of its time on copies."""
        import tensorflow as tf

        def choose_lines(edges: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
            return draw_lines(edges, ids, seed, epoch)

        if len(self.manifest.lines) > 1:
            # Two dozen small operations, which take six times as long one by one.
            choose_lines = tf.function(choose_lines, autograph=False)
        size = self.manifest.image_size
        dtype = np.dtype(self.manifest.label_dtype).newbyteorder("<")
        try:
            ranges = [
                part
                for shard in self._shards("train")
                for part in fixed_length_reader.split_shard(self._path(shard), shard, buffer.range_records)
            ]
            for ids, edges, labels in fixed_length_reader.batches(
                ranges,
                lambda keys: _hash_keys(keys).numpy(),
                batch_size=batch_size,
                seed=seed,
                epoch=epoch,
                chunk_records=buffer.records,
                skip=skip,
            ):
                labels = labels.view(dtype).reshape(batch_size, size, size)
                maps = edges.reshape(batch_size, len(self.manifest.lines), -1)
                batch = Batch(*map(_to_tensor, (maps, labels, ids)))
                yield batch._replace(edges=choose_lines(batch.edges, batch.ids))
        except schema.SchemaError as e:
            raise _damaged(self.root, e) from e
        except OSError as e:
            raise storage.explain_read_error(e, self.root) from e

    def _read_compressed(
        self, batch_size: int, seed: int, epoch: int, skip: int, buffer_records: int
    ) -> tf.data.Dataset:
        """Reads compressed shards: records are shuffled while still encoded, and parsed afterwards."""
        import tensorflow as tf

        paths = [self._path(shard) for shard in self._shards("train")]
        generator = np.random.default_rng([seed, epoch])
        order = generator.permutation(len(paths))
        records = tf.data.Dataset.from_tensor_slices([paths[i] for i in order]).interleave(
            self._read_shard, cycle_length=SHARDS_AT_ONCE
        )
        records = records.shuffle(
            buffer_records, seed=int(generator.integers(1, 2**62)), reshuffle_each_iteration=False
        )
        return self._parse(
            records.batch(batch_size, drop_remainder=True).skip(skip),
            lambda edges, ids: draw_lines(edges, ids, seed, epoch),
        )

    def _read_in_order(self, split: str, batch_size: int, choose_lines: ChooseLines) -> tf.data.Dataset:
        import tensorflow as tf

        paths = [self._path(shard) for shard in self._shards(split)]
        records = tf.data.Dataset.from_tensor_slices(paths).flat_map(self._read_shard)
        return self._parse(records.batch(batch_size), choose_lines)

    def _read_shard(self, path: tf.Tensor) -> tf.data.Dataset:
        import tensorflow as tf

        compression = "GZIP" if self.manifest.compression == "gzip" else ""
        return tf.data.TFRecordDataset(path, compression_type=compression)

    def _parse(self, batches: tf.data.Dataset, choose_lines: ChooseLines) -> tf.data.Dataset:
        import tensorflow as tf

        def parse(serialized: tf.Tensor) -> Batch:
            manifest = self.manifest
            keys, edges, labels = schema.parse(
                serialized, manifest.image_size, manifest.label_dtype, len(manifest.lines)
            )
            # The padding of a key depends on its shard, and an id must not.
            ids = _hash_keys(tf.strings.regex_replace(keys, r"\x00+$", ""))
            return Batch(choose_lines(edges, ids), labels, ids)

        parsed = batches.map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return parsed.prefetch(tf.data.AUTOTUNE)


def read_batches(dataset: tf.data.Dataset, root: str) -> Iterator[Batch]:
    """Yields the batches of a `tf.data` pipeline; raises `WorkError` in place of TensorFlow's errors.

    After a temporary failure of a bucket the pipeline is restarted after the last yielded batch. It must
    therefore yield the same batches in each iteration.

    Raises:
      WorkError: a record is damaged or differs from the manifest, or the storage failed.
    """
    import tensorflow as tf

    batches, yielded, failures = iter(dataset), 0, 0
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as e:
            raise _damaged(root, schema.storage_error(e, root).strerror) from e
        except tf.errors.OpError as e:
            error = schema.storage_error(e, "")
            if isinstance(error, ConnectionError):
                if not storage.is_remote(root) and not isinstance(e, tf.errors.UnknownError):
                    raise  # out of memory, or a failure of the processes that train together
                if storage.is_remote(root) and storage.wait_before_retry(failures):
                    failures += 1
                    batches = iter(dataset.skip(yielded))
                    continue
            raise storage.explain_read_error(error, f"a shard of {root}") from e
        yielded, failures = yielded + 1, 0
        yield batch


def _damaged(root: str, reason: object) -> WorkError:
    return WorkError(
        f"a shard of {root} is damaged ({reason}); find it with python scripts/verify_shards.py {root}"
    )


def _to_tensor(array: np.ndarray) -> tf.Tensor:
    """Returns a tensor that shares the memory of `array`, which must not be written to any more.

    All other conversions copy. TensorFlow aborts the process if the memory is not aligned.
    """
    import tensorflow as tf

    if array.ctypes.data % fixed_length_reader.ALIGNMENT:
        return tf.convert_to_tensor(array)
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())


def _hash_keys(keys: tf.Tensor) -> tf.Tensor:
    """Returns the ids of unpadded keys, int32 [B]. TensorFlow documents that this hash never changes."""
    import tensorflow as tf

    return tf.cast(tf.strings.to_hash_bucket_fast(keys, 2**31 - 1), tf.int32)


def _check_sizes(root: str, shards: list[ShardInfo]) -> None:
    paths = [f"{root.rstrip('/')}/{shard.name}" for shard in shards]
    for shard, path, size in zip(shards, paths, storage.sizes(paths), strict=True):
        if size == shard.bytes:
            continue
        problem = (
            "is missing" if size is None else f"has {size:,} bytes, but the manifest says {shard.bytes:,}"
        )
        receipt = schema.ShardReceipt.name(shard.name)
        raise WorkError(
            f"{path} {problem}: copy it again, or delete {receipt} and run the same preprocessing again"
        )
