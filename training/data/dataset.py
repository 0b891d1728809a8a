"""From shards on disk to packed batches: what tf.data does, and what is checked before it starts.

A batch has edges of one bit a pixel, labels of one or two bytes, and an id an example: as few bytes as can
be, since it is what travels to the device. The order of training examples is a pure function of (seed,
epoch). TensorFlow is imported only where it is used, so that a wrong path is answered at once.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

import tfrecords_schema as schema
from training.data import direct_reader, storage
from training.errors import UsageError, WorkError

if TYPE_CHECKING:
    import tensorflow as tf


class Batch(NamedTuple):
    """Packed edges uint8 [B, S*S/8], labels [B, S, S], and ids int32 [B], hashed from the records' keys."""

    edges: tf.Tensor
    labels: tf.Tensor
    ids: tf.Tensor


# Shards read at a time: enough to mix their examples, few enough to keep reads sequential.
SHARDS_AT_ONCE = 8


def open_dataset(root: str) -> schema.Manifest:
    """Reads the manifest at `root` and checks that every shard it names stands there whole.

    Raises:
      UsageError: `root` is not a dataset, one of another schema version, or where TensorFlow cannot read.
      WorkError: a shard is missing or has another size than the manifest says, or storage failed.
    """
    if not storage.is_remote(root) and not Path(root).is_dir():
        raise UsageError(
            f"data.root={root}: there is no such directory; make it with python -m preprocess --output {root}"
        )
    try:
        manifest = storage.patiently(lambda: schema.Manifest.load(root))
        _check_sizes(root, [shard for split in manifest.splits.values() for shard in split.shards])
    except schema.SchemaError as e:
        raise UsageError(f"data.root={root}: {e}") from e
    except OSError as e:
        if e.errno == errno.EPROTONOSUPPORT:
            raise UsageError(
                f"data.root={root}: TensorFlow cannot read this kind of path ({e.strerror}): copy the "
                "dataset to a disk or to gs://"
            ) from e
        raise storage.unreadable(e, root) from e
    return manifest


def examples(manifest: schema.Manifest, split: str) -> int:
    """How many examples a split has; 0 when the dataset has no such split."""
    return manifest.splits[split].examples if split in manifest.splits else 0


def selection_split(manifest: schema.Manifest) -> str:
    """The split that decides how good a network is: val, or train when there is no validation example."""
    return "val" if examples(manifest, "val") else "train"


def read(dataset: tf.data.Dataset, root: str) -> Iterator[Batch]:
    """Yields the dataset's batches; what tf.data says of a shard that cannot be read becomes a sentence.

    Where a bucket fails in a way that may pass, reading goes on behind the last batch that was yielded, after
    a while. The dataset must give the same batches each time it is gone through.

    Raises:
      WorkError: a record is damaged, or holds something else than the manifest says, or storage failed.
    """
    import tensorflow as tf

    batches, done, failed = iter(dataset), 0, 0
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
                    raise  # of this machine's memory, or of the processes that train together
                if storage.is_remote(root) and storage.pause(failed):
                    failed += 1
                    batches = iter(dataset.skip(done))
                    continue
            raise storage.unreadable(error, f"a shard of {root}") from e
        done, failed = done + 1, 0
        yield batch


def train_batches(
    root: str,
    manifest: schema.Manifest,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    shuffle_buffer: int,
    shuffle_megabytes: int | None = None,
    skip: int = 0,
) -> Iterator[Batch]:
    """Yields one epoch of packed training batches, in an order that (seed, epoch) alone decides.

    Every batch has `batch_size` examples: the few left over at the end are dropped, others each epoch. The
    first `skip` batches, which a resumed run has had, are left out.

    Args:
      shuffle_buffer: records that are mixed at a time.
      shuffle_megabytes: a limit of these records, in MB of 10^6 bytes; None for no limit. It changes the
        order only where images are so large that it lowers their number.

    Raises:
      WorkError: a record is damaged, a shard's layout contradicts its size, or storage failed.
    """
    mixed = Mixed.of(manifest, shuffle_buffer, shuffle_megabytes)
    if _has_strides(manifest, "train"):
        return _by_stride(root, manifest, batch_size, seed, epoch, mixed, skip)
    return read(_by_record(root, manifest, batch_size, seed, epoch, mixed.records, skip), root)


class Mixed(NamedTuple):
    """How many records are mixed at a time: `records`, which are read in pieces of up to `piece` records."""

    records: int
    piece: int

    @classmethod
    def of(cls, manifest: schema.Manifest, records: int, megabytes: int | None) -> Mixed:
        """`records`, or as many as fit into `megabytes`: 1 at least.

        A piece never takes more than an eighth of the limit, so that several shards are mixed.
        """
        if megabytes is None:
            return cls(records, direct_reader.PIECE_RECORDS)
        pixels = manifest.image_size**2
        fit = max(
            1, megabytes * 1_000_000 // (pixels // 8 + pixels * np.dtype(manifest.label_dtype).itemsize)
        )
        piece = max(1, min(direct_reader.PIECE_RECORDS, fit // SHARDS_AT_ONCE))
        # Pieces are read whole: the last one that is added may exceed the number by all but one record.
        return cls(min(records, fit - piece + 1), piece)


def eval_dataset(root: str, manifest: schema.Manifest, *, split: str, batch_size: int) -> tf.data.Dataset:
    """Every example of a split exactly once, in the order of its shards; the last batch may be smaller."""
    import tensorflow as tf

    files = tf.data.Dataset.from_tensor_slices(_shard_paths(root, manifest, split))
    records = files.flat_map(lambda path: _records(path, manifest))
    return _packed(records.batch(batch_size), manifest)


def _by_stride(
    root: str, manifest: schema.Manifest, batch_size: int, seed: int, epoch: int, mixed: Mixed, skip: int
) -> Iterator[Batch]:
    """Batches gathered from shards of fixed stride (see strides.py).

    Without tf.data: handing an array to it costs more than all the work that there is to do.
    """

    shards = [shard for shard in manifest.splits["train"].shards if shard.examples]
    size, dtype = manifest.image_size, np.dtype(manifest.label_dtype).newbyteorder("<")
    try:
        pieces = [
            piece
            for shard in shards
            for piece in direct_reader.pieces_of(f"{root.rstrip('/')}/{shard.name}", shard, mixed.piece)
        ]
        for ids, edges, labels in direct_reader.batches(
            pieces,
            lambda keys: _ids(keys).numpy(),
            batch_size=batch_size,
            seed=seed,
            epoch=epoch,
            at_once=mixed.records,
            skip=skip,
        ):
            labels = labels.view(dtype).reshape(batch_size, size, size)
            yield Batch(*map(_taken_over, (edges, labels, ids)))
    except schema.SchemaError as e:
        raise _damaged(root, e) from e
    except OSError as e:
        raise storage.unreadable(e, root) from e


def _damaged(root: str, reason: object) -> WorkError:
    find = f"find it with python scripts/verify_shards.py {root}"
    return WorkError(f"a shard of {root} is damaged ({reason}); {find}")


def _by_record(
    root: str, manifest: schema.Manifest, batch_size: int, seed: int, epoch: int, buffer: int, skip: int
) -> tf.data.Dataset:
    """Batches out of compressed shards: their records are shuffled while still encoded, then parsed."""
    import tensorflow as tf

    files = _shard_paths(root, manifest, "train")
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(files))
    records = tf.data.Dataset.from_tensor_slices([files[i] for i in order]).interleave(
        lambda path: _records(path, manifest), cycle_length=SHARDS_AT_ONCE
    )
    records = records.shuffle(buffer, seed=int(generator.integers(1, 2**62)), reshuffle_each_iteration=False)
    return _packed(records.batch(batch_size, drop_remainder=True).skip(skip), manifest)


def _has_strides(manifest: schema.Manifest, split: str) -> bool:
    return all(shard.layout for shard in manifest.splits[split].shards if shard.examples)


def _packed(batches: tf.data.Dataset, manifest: schema.Manifest) -> tf.data.Dataset:
    import tensorflow as tf

    def parse(serialized: tf.Tensor) -> Batch:
        keys, edges, labels = schema.parse(serialized, manifest.image_size, manifest.label_dtype)
        # How far a key is padded depends on its shard.
        return Batch(edges, labels, _ids(tf.strings.regex_replace(keys, r"\x00+$", "")))

    parsed = batches.map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return parsed.prefetch(tf.data.AUTOTUNE)


def _taken_over(array: np.ndarray) -> tf.Tensor:
    """A tensor in the array's own memory (all other ways copy); nobody may write there any more."""
    import tensorflow as tf

    if array.ctypes.data % direct_reader.ALIGNMENT:  # TensorFlow would end the process
        return tf.convert_to_tensor(array)
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())


def _ids(keys: tf.Tensor) -> tf.Tensor:
    """Keys without padding to ids, int32 [B]; the hash is documented never to change."""
    import tensorflow as tf

    return tf.cast(tf.strings.to_hash_bucket_fast(keys, 2**31 - 1), tf.int32)


def _records(path: tf.Tensor, manifest: schema.Manifest) -> tf.data.Dataset:
    import tensorflow as tf

    return tf.data.TFRecordDataset(path, compression_type="GZIP" if manifest.compression == "gzip" else "")


def _shard_paths(root: str, manifest: schema.Manifest, split: str) -> list[str]:
    return [f"{root.rstrip('/')}/{shard.name}" for shard in manifest.splits[split].shards if shard.examples]


def _check_sizes(root: str, shards: list[schema.ShardInfo]) -> None:
    paths = [f"{root.rstrip('/')}/{shard.name}" for shard in shards]
    for shard, path, found in zip(shards, paths, storage.sizes(paths), strict=True):
        if found == shard.bytes:
            continue
        state = (
            "is missing" if found is None else f"has {found:,} bytes, but the manifest says {shard.bytes:,}"
        )
        receipt = schema.ShardReceipt.name(shard.name)
        raise WorkError(
            f"{path} {state}: copy it again, or delete {receipt} and rerun the preprocessing that made it"
        )
