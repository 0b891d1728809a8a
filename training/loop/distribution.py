"""Where a step runs: on one device, on several of this machine, or on several machines, as one larger step.

Every replica holds all weights and takes its rows of each batch; gradients are summed over replicas before
they are clipped and applied, and batch statistics are those of the whole batch. So the number of replicas
decides how fast a step is, not what it does: the loss curve is that of one device, to float tolerance.

Every process goes through the whole dataset in the same order and takes its rows of each batch. That reads
each shard once a process, not once a run, but reading is cheap, the order is f(seed, epoch) for any number
of processes, and a run may go on with another number of them.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from training.errors import UsageError, WorkError
from training.tf_startup import show_only_errors

CLUSTER = "TF_CONFIG"  # where TensorFlow's launchers say which processes there are
EXAMPLE = '{"cluster": {"worker": ["HOST1:PORT", "HOST2:PORT"]}, "task": {"type": "worker", "index": 0}}'


@dataclass(frozen=True)
class Replicas:
    """The devices that share a step; `worker` is this process's number among `workers`, from 0."""

    strategy: tf.distribute.Strategy
    worker: int = 0
    workers: int = 1

    @classmethod
    def of(cls, name: str) -> Replicas:
        """Those that `trainer.strategy` names; for several processes, before TensorFlow is used otherwise.

        Raises:
          UsageError: several processes are wanted, but TF_CONFIG does not say which.
        """
        if name == "mirrored":
            devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
            return cls(tf.distribute.MirroredStrategy([device.name for device in devices]))
        if name == "multi_worker":
            worker, workers = _cluster()
            with show_only_errors():  # its devices are found only now
                return cls(tf.distribute.MultiWorkerMirroredStrategy(), worker, workers)
        return cls(tf.distribute.get_strategy())

    @property
    def count(self) -> int:
        """Replicas in all processes."""
        return self.strategy.num_replicas_in_sync

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run's directory and speaks; one of them does."""
        return self.worker == 0

    def say(self, text: str) -> None:
        """Prints, if this process is the one that speaks."""
        if self.is_chief:
            print(text, flush=True)

    def check_fits(self, batch_size: int) -> None:
        """Refuses batches that cannot be shared evenly.

        Raises:
          UsageError: with a size that can.
        """
        if batch_size % self.count:
            even = max(1, batch_size // self.count) * self.count
            raise UsageError(
                f"trainer.batch_size={batch_size} cannot be shared evenly by {self.count} devices: "
                f"type trainer.batch_size={even}"
            )

    def synchronize(self, net: keras.Model) -> None:
        """Has batch normalization see the whole batch, not each replica its part."""
        for layer in net.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = self.count > 1

    def summed(self, gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        """Inside a replica: the mean over all replicas, whose parts of the batch are equally large."""
        if self.count == 1:
            return gradients
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.SUM, [each / self.count for each in gradients])

    def run(self, step: Callable[..., tf.Tensor], *columns: Any) -> tf.Tensor:
        """Inside a tf.function: runs a replica's step, and adds up over all replicas what it returns."""
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, self.strategy.run(step, columns), axis=None)

    def rows(self, batch: Any) -> list[Any]:
        """The columns of a whole batch, its rows dealt out: what `run` takes."""
        if self.count == 1:
            return list(batch)
        own = self.count // self.workers

        def part(column: Any, context: tf.distribute.ReplicaContext) -> tf.Tensor:
            size = len(column) // self.count
            first = (self.worker * own + context.replica_id_in_sync_group % own) * size
            return tf.convert_to_tensor(column[first : first + size])

        deal = self.strategy.experimental_distribute_values_from_function
        return [deal(lambda context, c=column: part(c, context)) for column in batch]

    def check_agreement(self, *facts: Any) -> None:
        """Makes sure that all processes have the same facts; waits until all have come so far.

        Raises:
          WorkError: they have not.
        """
        if self.workers == 1:
            return
        own = tf.constant([zlib.crc32(repr(facts).encode())], tf.int64)

        @tf.function
        def gather() -> tf.Tensor:
            everyone = self.strategy.run(lambda: tf.distribute.get_replica_context().all_gather(own, axis=0))
            return self.strategy.experimental_local_results(everyone)[0]

        if len(set(np.asarray(gather()).tolist())) > 1:
            raise WorkError(
                f"the {self.workers} processes of this run do not agree: give all of them the same command, "
                "the same dataset and one hydra.run.dir that all of them see"
            )


def _cluster() -> tuple[int, int]:
    """This process's number, and how many there are, from TF_CONFIG."""
    try:
        config = json.loads(os.environ[CLUSTER])
        workers, index = len(config["cluster"]["worker"]), int(config["task"]["index"])
        if config["task"]["type"] != "worker" or set(config["cluster"]) != {"worker"} or index >= workers:
            raise ValueError
    except (KeyError, ValueError, TypeError) as e:
        found = f"{CLUSTER}={os.environ[CLUSTER]}" if CLUSTER in os.environ else f"{CLUSTER} is not set"
        raise UsageError(
            f"trainer.strategy=multi_worker: {found}; set it for each process, as in {CLUSTER}='{EXAMPLE}'"
        ) from e
    return index, workers
