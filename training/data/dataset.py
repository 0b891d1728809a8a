"""Reads a dataset of TFRecord shards as `tf.data` pipelines of packed batches.

Records are shuffled while they are still encoded, and parsed a whole batch at a time. Edges stay packed at
one bit per pixel and labels at one or two bytes, because batches travel to the accelerator; they are unpacked
there. TensorFlow is imported only where it is used, so that a wrong path is reported before it starts.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import tfrecords_schema as schema
from tfrecords_schema import Manifest, ShardInfo
from training.data import storage
from training.errors import UsageError, WorkError
from training.line_styles import judged_style, style_probabilities

if TYPE_CHECKING:
    import tensorflow as tf

# Shards read at a time: enough to mix their examples, few enough to keep reads sequential.
SHARDS_AT_ONCE = 8
# Threads that read shards, and threads that parse batches. Neither number changes the order.
READERS, PARSERS = 4, 2
# Records that tf.data holds at most for parallel readers: nine for each shard that is open.
READ_AHEAD = 9 * SHARDS_AT_ONCE
# Size of a group of shards in shuffle buffers. Once for each group, a buffer fills and no batch is made.
GROUP_BUFFERS = 8
# Batches that wait for the training step. A fixed number: tf.data would choose more, whatever their size.
PREFETCHED_BATCHES = 2
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
    """How many records are shuffled together, and how many threads read them ahead (None: nothing is)."""

    records: int
    readers: int | None

    @classmethod
    def from_limits(cls, manifest: Manifest, records: int, megabytes: int | None) -> ShuffleBuffer:
        """Returns a buffer of `records`, or of as many as fit into `megabytes` (at least one).

        The limit includes what the readers hold. If that is too much of it, one record is read at a time.
        """
        if megabytes is None:
            return cls(records, READERS)
        pixels = manifest.image_size**2
        edges_bytes = len(manifest.lines) * pixels // 8
        record_bytes = edges_bytes + pixels * np.dtype(manifest.label_dtype).itemsize
        fitting = max(1, megabytes * 1_000_000 // record_bytes)
        if fitting < 4 * READ_AHEAD:
            return cls(min(records, fitting), None)
        return cls(min(records, fitting - READ_AHEAD), READERS)


# Takes the packed edges of a batch, uint8 [B, L, S*S/8], and the ids of its examples, int32 [B].
# Returns the map of one line style per example, uint8 [B, S*S/8].
ChooseLines = Callable[["tf.Tensor", "tf.Tensor"], "tf.Tensor"]


def draw_styles(
    edges: tf.Tensor, ids: tf.Tensor, probabilities: np.ndarray, seed: int, epoch: int
) -> tf.Tensor:
    """Draws one of the L line styles for each example.

    The style is a function of (seed, epoch, id), and so does not depend on the batch or on resuming.

    Args:
      edges: packed edges, uint8 [B, L, S*S/8].
      ids: int32 [B].
      probabilities: float32 [L], as `style_probabilities` returns them.
      seed: the seed of the run.
      epoch: the number of the epoch.

    Returns:
      uint8 [B, S*S/8].
    """
    import tensorflow as tf

    from training.data.stateless_random import StatelessRandom

    (shown,) = np.nonzero(probabilities)
    if len(shown) == 1:
        return edges[:, shown[0]]
    uniform = StatelessRandom(seed, tf.constant(epoch), ids).uniform_scalar("lines")
    # The end of the last range is left out, so that rounding cannot lead beyond it.
    ends = np.cumsum(probabilities[shown])[:-1].astype(np.float32)
    index = tf.reduce_sum(tf.cast(uniform[:, None] >= ends, tf.int32), axis=1)
    return tf.gather(edges, tf.gather(tf.constant(shown, tf.int32), index), batch_dims=1)


@dataclass(frozen=True)
class ShardedDataset:
    """A dataset written by `python -m preprocess`: its directory or bucket, and its manifest.

    `train` and `eval` return a `tf.data.Dataset` of `Batch` tuples, for images of S × S pixels:

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
        lines: Mapping[str, float] | None = None,
    ) -> tf.data.Dataset:
        """Returns one epoch of shuffled batches of the training split, as a dataset of `Batch` tuples.

        The order is a function of (seed, epoch) and of the shuffle buffer: it depends neither on the number
        of threads nor on the compression of the shards. All batches have `batch_size` examples: the
        remainder, a different one in each epoch, is dropped. If the dataset has several line styles, one is
        drawn for each example.

        Damaged shards raise TensorFlow's errors during the iteration, and `WorkError` with `read_batches`.

        Args:
          batch_size: examples per batch.
          seed: a number that is constant for a training run.
          epoch: the number of the epoch; each number gives another order.
          skip: batches to skip at the beginning, for a run that resumes within an epoch. Of their records,
            only those of one group of shards are read, and none is parsed.
          shuffle_buffer: records that are shuffled together. The shards are already in hash order, so that
            a few thousand are enough.
          shuffle_megabytes: limit of the records in memory in MB (10^6 bytes), or None for no limit. It
            changes the order only if the images are so large that fewer records fit.
          lines: weights of the line styles by name, by which a style is drawn for each example; see
            `style_probabilities`.

        Raises:
          UsageError: the dataset has no training examples, or not the line styles.
        """
        import tensorflow as tf

        self._require_examples("train")
        probabilities = style_probabilities(lines, self.manifest.lines)
        buffer = ShuffleBuffer.from_limits(self.manifest, shuffle_buffer, shuffle_megabytes)
        groups, generator = self._group_shards(seed, epoch, buffer.records)
        # Each group has a shuffle buffer of its own, so that groups can be skipped without reading them.
        ends = np.cumsum([sum(shard.examples for shard in group) for group in groups])
        first = min(int(np.searchsorted(ends, skip * batch_size, "right")), len(groups) - 1)
        num_skipped = int(ends[first - 1]) if first else 0

        def read_group(paths: tf.Tensor, shuffle_seed: tf.Tensor) -> tf.data.Dataset:
            records = tf.data.Dataset.from_tensor_slices(paths).interleave(
                self._read_records, cycle_length=SHARDS_AT_ONCE, num_parallel_calls=buffer.readers
            )
            return records.shuffle(buffer.records, shuffle_seed, reshuffle_each_iteration=False)

        paths = tf.ragged.constant([[self._path(shard) for shard in group] for group in groups])
        seeds = generator.integers(1, 2**62, len(groups))
        records = tf.data.Dataset.from_tensor_slices((paths[first:], seeds[first:])).flat_map(read_group)
        records = _check_count(records, self.examples("train") - num_skipped)
        return self._parse(
            records.skip(skip * batch_size - num_skipped).batch(batch_size, drop_remainder=True),
            lambda edges, ids: draw_styles(edges, ids, probabilities, seed, epoch),
        )

    def eval(self, split: str, batch_size: int = 16, lines: str | None = None) -> tf.data.Dataset:
        """Returns every example of a split once, as a dataset of `Batch` tuples in the order of the shards.

        The last batch may be smaller. For errors during the iteration see `train`.

        Args:
          split: train or val.
          batch_size: examples per batch.
          lines: name of the line style, by default that of `judged_style`.

        Raises:
          UsageError: the split has no examples, or the dataset does not have the line style.
        """
        self._require_examples(split)
        line = self.line_index(lines)
        records = self._read_records([self._path(shard) for shard in self._shards(split)])
        batches = _check_count(records, self.examples(split)).batch(batch_size)
        return self._parse(batches, lambda edges, _: edges[:, line])

    def line_index(self, lines: str | None) -> int:
        """Returns the index of a line style among those of the manifest; by default of `judged_style`.

        Raises:
          UsageError: the dataset does not have this line style.
        """
        if lines is None:
            lines = judged_style(self.manifest.lines)
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

    def _group_shards(
        self, seed: int, epoch: int, buffer_records: int
    ) -> tuple[list[list[ShardInfo]], np.random.Generator]:
        """Splits the training shards at random into groups, which are read one after the other.

        All have about as many shards: at least `SHARDS_AT_ONCE`, and about `GROUP_BUFFERS` shuffle buffers of
        records or more. A small dataset is one group. Also returns the generator that has drawn the order.
        """
        shards, generator = self._shards("train"), np.random.default_rng([seed, epoch])
        count = min(len(shards) // SHARDS_AT_ONCE, self.examples("train") // (GROUP_BUFFERS * buffer_records))
        order = np.array_split(generator.permutation(len(shards)), max(1, count))
        return [[shards[index] for index in group] for group in order], generator

    def _read_records(self, paths: list[str] | tf.Tensor) -> tf.data.Dataset:
        """Reads shards one after the other, as serialized records. TensorFlow verifies their checksums."""
        import tensorflow as tf

        compression = "GZIP" if self.manifest.compression == "gzip" else ""
        return tf.data.TFRecordDataset(paths, compression_type=compression)

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

        parsed = batches.map(parse, num_parallel_calls=PARSERS, deterministic=True)
        return parsed.prefetch(PREFETCHED_BATCHES)


def read_batches(
    dataset: tf.data.Dataset,
    root: str,
    place: Callable[[tf.data.Dataset], Iterable[Any]] = lambda dataset: dataset,
) -> Iterator[Any]:
    """Yields the elements of a `tf.data` pipeline; raises `WorkError` in place of TensorFlow's errors.

    After a temporary failure of a bucket the pipeline is restarted after the last yielded element. It must
    therefore yield the same elements in each iteration.

    Args:
      dataset: what `ShardedDataset.train` or `ShardedDataset.eval` has returned.
      root: the directory of the shards.
      place: moves the elements to the devices that use them, such as `Replicas.place`.

    Raises:
      WorkError: a record is damaged or differs from the manifest, or the storage failed.
    """
    import tensorflow as tf

    batches, yielded, failures = iter(place(dataset)), 0, 0
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except (
            tf.errors.DataLossError, tf.errors.InvalidArgumentError, tf.errors.FailedPreconditionError,
        ) as e:  # fmt: skip
            raise WorkError(
                f"a shard of {root} is damaged ({schema.storage_error(e, root).strerror}); "
                f"find it with python scripts/verify_shards.py {root}"
            ) from e
        except tf.errors.OpError as e:
            error = schema.storage_error(e, "")
            if isinstance(error, ConnectionError):
                if not storage.is_remote(root) and not isinstance(e, tf.errors.UnknownError):
                    raise  # out of memory, or a failure of the processes that train together
                if storage.is_remote(root) and storage.wait_before_retry(failures):
                    failures += 1
                    batches = iter(place(dataset.skip(yielded)))
                    continue
            raise storage.explain_read_error(error, _find_shard(str(e.message), root)) from e
        yielded, failures = yielded + 1, 0
        yield batch


def _find_shard(message: str, root: str) -> str:
    """Returns the path of the shard that TensorFlow's message names, or "a shard of ..." if it names none."""
    found = re.search(re.escape(root.rstrip("/")) + r"/[\w./-]+\.tfrecord(\.gz)?", message)
    return found[0] if found else f"a shard of {root}"


def _check_count(records: tf.data.Dataset, examples: int) -> tf.data.Dataset:
    """Makes another number of records than `examples` an error. It also gives the pipeline a length."""
    import tensorflow as tf

    return records.apply(tf.data.experimental.assert_cardinality(examples))


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
