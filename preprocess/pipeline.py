"""The job as one sentence: take the shards to write, spread them over the workers, write each whole.

Pixels never cross the runner: an element is the name of a shard's list of images, and what comes back is a
receipt. So the launcher stays small, any runner will do, and a shard lost is the only thing ever lost.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.metrics import Metrics

from preprocess.plan import Shard
from preprocess.recipe import Recipe
from preprocess.runners.shard_queue import ShardQueue
from preprocess.shard_writer import write_shard
from tfrecords_schema import Compression, ShardReceipt


def build(
    pipeline: beam.Pipeline,
    shards: list[Shard],
    recipe: Recipe,
    compression: Compression,
    output: str,
    queue: ShardQueue | None = None,
) -> beam.PCollection:
    """Adds the whole job to `pipeline`; gives the PCollection of `ShardReceipt`.

    With `queue`, which is for runners that deal all elements out beforehand, a worker does not write the
    shards it was dealt but, from its first one on, whichever nobody else has begun.
    """
    return (
        pipeline
        | "Shards" >> beam.Create(shards)  # Shard
        | "Spread" >> beam.Reshuffle()  # Shard, no longer fused with where it came from
        | "WriteShards" >> WriteShards(recipe, compression, output, queue)  # ShardReceipt
    )


class WriteShards(beam.PTransform):
    """PCollection of `Shard` → PCollection of `ShardReceipt`: `write_shard`, counted."""

    def __init__(
        self, recipe: Recipe, compression: Compression, output: str, queue: ShardQueue | None = None
    ) -> None:
        super().__init__()
        self._write = _WriteShard(recipe, compression, output, queue)

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        """Beam calls this."""
        return shards | beam.ParDo(self._write)


class _WriteShard(beam.DoFn):
    def __init__(
        self, recipe: Recipe, compression: Compression, output: str, queue: ShardQueue | None
    ) -> None:
        self._recipe = recipe
        self._compression: Compression = compression
        self._output = output
        self._queue = queue

    def setup(self) -> None:
        """Beam calls this once in each worker."""
        self._untaken = self._queue.take() if self._queue else None

    def process(self, shard: Shard) -> Iterator[ShardReceipt]:
        for each in [shard] if self._untaken is None else self._untaken:
            begin = functools.partial(self._queue.begin, each) if self._queue else lambda number: None
            receipt = write_shard(each, self._recipe, self._compression, self._output, begin)
            Metrics.counter("linewash", "images").inc(receipt.shard.examples)
            Metrics.counter("linewash", "bytes").inc(receipt.shard.bytes)
            for reject in receipt.rejects:
                Metrics.counter("linewash", f"rejects_{reject.reason}").inc()
            yield receipt
