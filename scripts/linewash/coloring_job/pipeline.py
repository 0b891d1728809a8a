"""The Beam pipeline: creates the batches, spreads them over the workers, and colours the drawings of each.

Pixels do not pass through the runner, as in `preprocess.pipeline`: an element is a batch with the path of its
list of drawings, and the result is its receipt.

The network is used by a `DoFn` and not by Beam's `RunInference` with `OnnxModelHandlerNumpy`. That stacks
arrays of one shape into batches, while drawings have different shapes. Only a small part of the time of a
drawing is spent in the network: most is spent before it, on the lines, and after it, on regions and files.
Between these steps full-size pixels would have to pass through the runner. What `RunInference` is good for,
one network for all threads of a process, is `Shared`, which it uses itself.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import cast

import apache_beam as beam
import cv2
from apache_beam.metrics import Metrics
from apache_beam.utils.shared import Shared

from linewash.coloring.model_loader import Network
from linewash.coloring_job.batch_writer import Batch, BatchReceipt, color_batch
from linewash.coloring_job.network_files import load_network
from linewash.coloring_job.recipe import ColoringRecipe
from preprocess.runners.shard_queue import ShardQueue


def build(
    pipeline: beam.Pipeline,
    batches: list[Batch],
    recipe: ColoringRecipe,
    output: str,
    queue: ShardQueue | None = None,
) -> beam.PCollection:
    """Adds all steps to `pipeline` and returns the PCollection of `BatchReceipt`.

    Args:
      queue: for runners that assign all elements to workers in advance. On its first element, a worker
        colours batches from the queue until none is left, instead of those that were assigned to it.
    """
    return (
        pipeline
        | "Batches" >> beam.Create(batches)  # Batch; Create reshuffles, so the next step is not fused with it
        | "ColorDrawings" >> ColorDrawings(recipe, output, queue)  # BatchReceipt
    )


class ColorDrawings(beam.PTransform):
    """Calls `color_batch` on each `Batch`, counts drawings, and returns the `BatchReceipt`s."""

    def __init__(self, recipe: ColoringRecipe, output: str, queue: ShardQueue | None = None) -> None:
        super().__init__()
        self._color = _ColorBatch(recipe, output, queue)

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        """Called by Beam."""
        return batches | beam.ParDo(self._color)


class _ColorBatch(beam.DoFn):
    def __init__(self, recipe: ColoringRecipe, output: str, queue: ShardQueue | None) -> None:
        self._recipe = recipe
        self._output = output
        self._queue = queue
        self._shared = Shared()

    def setup(self) -> None:
        """Called by Beam once in each thread of a worker; all of them share the network."""
        cv2.setNumThreads(1)  # the runner starts one process per core
        self._network: Network = self._shared.acquire(functools.partial(load_network, self._output))
        self._queued_batches = self._queue.take() if self._queue else None

    def process(self, element: Batch) -> Iterator[BatchReceipt]:
        for batch in [element] if self._queued_batches is None else self._queued_batches:
            begin = functools.partial(self._queue.begin, batch) if self._queue else lambda number: None
            receipt = color_batch(cast(Batch, batch), self._network, self._recipe, self._output, begin)
            Metrics.counter("linewash", "drawings").inc(receipt.colored)
            for reject in receipt.rejects:
                Metrics.counter("linewash", f"rejects_{reject.reason}").inc()
            yield receipt
