"""Distributed training: one device, all GPUs of this machine, or several machines.

Every replica holds all weights and trains on its rows of each batch. Gradients are averaged over replicas
before they are clipped and applied, and batch normalization uses the statistics of the whole batch. So the
number of replicas changes the speed of a step but not its result, up to float rounding.

Every process reads the whole dataset in the same order and takes its rows of each batch. Each shard is then
read once by every process, but reading is cheap, the order is a function of the seed and the epoch alone, and
a run may be resumed with another number of processes.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from training.errors import UsageError, WorkError
from training.tf_startup import show_only_errors

PLACED_BATCHES = 2  # batches on a GPU besides the one in use
TF_CONFIG = "TF_CONFIG"  # the environment variable in which TensorFlow's launchers list the processes
EXAMPLE = '{"cluster": {"worker": ["HOST1:PORT", "HOST2:PORT"]}, "task": {"type": "worker", "index": 0}}'


@dataclass(frozen=True)
class Replicas:
    """The devices that share each step. `process_index` counts the processes from 0."""

    strategy: tf.distribute.Strategy
    process_index: int = 0
    num_processes: int = 1

    @classmethod
    def create(cls, name: str) -> Replicas:
        """Creates the replicas for a value of `trainer.strategy`: one, mirrored or multi_worker.

        With multi_worker it must be the first use of TensorFlow in this process.

        Raises:
          UsageError: the strategy is multi_worker, but TF_CONFIG does not list the processes.
        """
        if name == "mirrored":
            devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
            return cls(tf.distribute.MirroredStrategy([device.name for device in devices]))
        if name == "multi_worker":
            process_index, num_processes = _read_tf_config()
            with show_only_errors():  # TensorFlow logs the devices that it initializes here
                return cls(tf.distribute.MultiWorkerMirroredStrategy(), process_index, num_processes)
        return cls(tf.distribute.get_strategy())

    @property
    def count(self) -> int:
        """The number of replicas in all processes."""
        return self.strategy.num_replicas_in_sync

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run directory and prints. Exactly one of the processes does."""
        return self.process_index == 0

    def print_once(self, text: str) -> None:
        """Prints in the chief process only."""
        if self.is_chief:
            print(text, flush=True)

    def check_batch_size(self, batch_size: int) -> None:
        """Checks that a batch can be split evenly.

        Raises:
          UsageError: it cannot. The message proposes a size that can.
        """
        if batch_size % self.count:
            multiple = max(1, batch_size // self.count) * self.count
            raise UsageError(
                f"trainer.batch_size={batch_size} cannot be split evenly among {self.count} devices: "
                f"type trainer.batch_size={multiple}"
            )

    def synchronize_batch_norm(self, net: keras.Model) -> None:
        """Makes batch normalization use the statistics of the whole batch instead of each replica's rows."""
        for layer in net.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = self.count > 1

    def mean_gradients(self, gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        """Returns the means over all replicas. It must be called inside a replica's step.

        All replicas have the same number of rows, so this is the gradient of the mean loss of the batch.
        """
        if self.count == 1:
            return gradients
        context = tf.distribute.get_replica_context()
        return context.all_reduce(
            tf.distribute.ReduceOp.SUM, [gradient / self.count for gradient in gradients]
        )

    def run_and_sum(self, step: Callable[..., tf.Tensor], *columns: Any) -> tf.Tensor:
        """Runs `step` on each replica and returns the sum of the results. Call it inside a tf.function."""
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, self.strategy.run(step, columns), axis=None)

    def place(self, dataset: tf.data.Dataset) -> Iterable[Any]:
        """Returns the batches of `dataset` with their rows on the replicas, as columns for `run_and_sum`.

        The next batches are copied to the devices while the current one is used. If the run has several
        processes, the returned iterable has no end.

        Args:
          dataset: batches of one size, which the number of replicas divides. All processes must pass the same
            batches.
        """
        if self.count == 1:
            return prefetch_to_gpu(dataset)
        rows = rows_of_replicas(dataset, self.count, self.process_index, self.num_processes)
        if self.num_processes > 1:
            rows = (
                rows.repeat()
            )  # if they had an end, the processes would ask each other for it at every step
        return self.strategy.distribute_datasets_from_function(lambda context: rows)

    def check_agreement(self, *values: Any) -> None:
        """Checks that all processes pass the same values. It waits until all processes have called it.

        Raises:
          WorkError: the values differ.
        """
        if self.num_processes == 1:
            return
        checksum = tf.constant([zlib.crc32(repr(values).encode())], tf.int64)

        @tf.function
        def gather() -> tf.Tensor:
            gathered = self.strategy.run(
                lambda: tf.distribute.get_replica_context().all_gather(checksum, axis=0)
            )
            return self.strategy.experimental_local_results(gathered)[0]

        if len(set(np.asarray(gather()).tolist())) > 1:
            raise WorkError(
                f"the {self.num_processes} processes of this run do not agree: give all of them the same "
                "command, the same dataset and one hydra.run.dir that all of them can read"
            )


def prefetch_to_gpu(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns `dataset` with its elements copied to the first GPU ahead of use; itself without a GPU."""
    gpus = tf.config.list_logical_devices("GPU")
    if not gpus:
        return dataset
    return dataset.apply(tf.data.experimental.prefetch_to_device(gpus[0].name, buffer_size=PLACED_BATCHES))


def rows_of_replicas(
    dataset: tf.data.Dataset, count: int, process_index: int, num_processes: int
) -> tf.data.Dataset:
    """Returns the rows of each batch that belong to the replicas of one process, replica after replica.

    Replica i of all `count` has the rows i*B/count to (i+1)*B/count - 1 of each batch of B rows.

    Args:
      dataset: batches of one static size B, which `count` divides.
      count: the number of replicas in all processes.
      process_index: the number of the process, from 0.
      num_processes: each process has as many replicas as any other.

    Returns:
      Elements of B/count rows, count/num_processes of them for each batch.
    """
    batch_size = tf.nest.flatten(dataset.element_spec)[0].shape[0]
    if num_processes > 1:
        dataset = dataset.rebatch(batch_size // num_processes, drop_remainder=True)
        dataset = dataset.shard(num_processes, process_index)
    return dataset.rebatch(batch_size // count, drop_remainder=True)


def _read_tf_config() -> tuple[int, int]:
    """Returns the index of this process and the number of processes, from TF_CONFIG."""
    try:
        config = json.loads(os.environ[TF_CONFIG])
        index, num_processes = int(config["task"]["index"]), len(config["cluster"]["worker"])
        if (
            config["task"]["type"] != "worker"
            or set(config["cluster"]) != {"worker"}
            or index >= num_processes
        ):
            raise ValueError
    except (KeyError, ValueError, TypeError) as e:
        value = os.environ.get(TF_CONFIG)
        problem = f"{TF_CONFIG} is not set" if value is None else f"{TF_CONFIG}={value}"
        raise UsageError(
            f"trainer.strategy=multi_worker: {problem}; set it for each process, as in "
            f"{TF_CONFIG}='{EXAMPLE}'"
        ) from e
    return index, num_processes
