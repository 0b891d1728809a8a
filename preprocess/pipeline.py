"""The Beam pipeline: creates the shards, spreads them over the workers, and writes each of them.

Pixels do not pass through the runner. An element is a shard with the path of its shard list, and the result
is its receipt. The launcher therefore needs little memory, every runner is suitable, and a failure costs no
more than the shards that were being written.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.metrics import Metrics, MetricsFilter
from apache_beam.runners.runner import PipelineResult

from preprocess.plan import Shard
from preprocess.recipe import Recipe
from preprocess.runners.shard_queue import ShardQueue
from preprocess.shard_writer import write_shard
from preprocess.stage_timer import STAGES, StageTimer
from tfrecords_schema import Compression, ShardReceipt

NAMESPACE = "linewash"
_IMAGES = Metrics.counter(NAMESPACE, "images")
_BYTES = Metrics.counter(NAMESPACE, "bytes")
_SHARD_MILLISECONDS = Metrics.distribution(NAMESPACE, "shard_milliseconds")
_SHARD_BYTES = Metrics.distribution(NAMESPACE, "shard_bytes")
# Microseconds of each image, because Beam's distributions hold integers.
_STAGES = {stage: Metrics.distribution(NAMESPACE, f"{stage}_microseconds") for stage in STAGES}


def build(
    pipeline: beam.Pipeline,
    shards: list[Shard],
    recipe: Recipe,
    compression: Compression,
    output: str,
    queue: ShardQueue | None = None,
) -> beam.PCollection:
    """Adds all steps to `pipeline` and returns the PCollection of `ShardReceipt`.

    Args:
      queue: for runners that assign all elements to workers in advance. On its first element, a worker writes
        shards from the queue until none is left, instead of the shards that were assigned to it.
    """
    return (
        pipeline
        | "Shards" >> beam.Create(shards)  # Shard; Create reshuffles, so the next step is not fused with it
        | "WriteShards" >> WriteShards(recipe, compression, output, queue)  # ShardReceipt
    )


class WriteShards(beam.PTransform):
    """Calls `write_shard` on each `Shard`, counts images, bytes and times, and returns the receipts."""

    def __init__(
        self, recipe: Recipe, compression: Compression, output: str, queue: ShardQueue | None = None
    ) -> None:
        super().__init__()
        self._write = _WriteShard(recipe, compression, output, queue)

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        """Called by Beam."""
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
        """Called by Beam once in each worker."""
        self._queued_shards = self._queue.take() if self._queue else None

    def process(self, element: Shard) -> Iterator[ShardReceipt]:
        for shard in [element] if self._queued_shards is None else self._queued_shards:
            begin = functools.partial(self._queue.begin, shard) if self._queue else lambda number: None
            timer, start = StageTimer(), time.perf_counter()
            receipt = write_shard(shard, self._recipe, self._compression, self._output, begin, timer)
            _SHARD_MILLISECONDS.update(round((time.perf_counter() - start) * 1000))
            _count(receipt, timer)
            yield receipt


def _count(receipt: ShardReceipt, timer: StageTimer) -> None:
    """Adds a shard to the counters and distributions."""
    _IMAGES.inc(receipt.shard.examples)
    _BYTES.inc(receipt.shard.bytes)
    _SHARD_BYTES.update(receipt.shard.bytes)
    for stage, distribution in _STAGES.items():
        for nanoseconds in timer.nanoseconds[stage]:
            distribution.update(nanoseconds // 1000)
    for reject in receipt.rejects:
        Metrics.counter(NAMESPACE, f"rejects_{reject.reason}").inc()


def stage_milliseconds(result: PipelineResult) -> dict[str, float]:
    """Returns the mean time of an image in each stage, in milliseconds."""
    distributions = result.metrics().query(MetricsFilter().with_namespace(NAMESPACE))["distributions"]
    by_name = {distribution.key.metric.name: distribution.result for distribution in distributions}
    names = {stage: distribution.metric_name.name for stage, distribution in _STAGES.items()}
    return {stage: by_name[name].mean / 1000 for stage, name in names.items() if name in by_name}
