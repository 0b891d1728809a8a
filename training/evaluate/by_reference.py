"""Evaluates a network that takes a reference: its scores, and whether its colours follow the reference."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from tfrecords_schema import Manifest
from training.data.dataset import Batch
from training.data.hints import append_hints
from training.data.reference import label_fractions
from training.data.unpack import unpack_edges
from training.loop.step import batch_signature, make_reference, match_reference
from training.metrics.earth_mover import earth_movers_distance
from training.metrics.losses import to_logits
from training.models.inputs import call, takes_hints


@dataclass(frozen=True)
class Obedience:
    """How well the colours of the pictures follow the reference: means over the examples.

    Attributes:
      distance: the earth mover's distance in OKLab from the picture's histogram to the reference.
      distance_without: the same for the picture that the network makes without the reference.
    """

    distance: float
    distance_without: float

    @property
    def moved(self) -> float:
        """The part of the way from the picture without the reference: 1 if the histogram is the reference."""
        return 1 - self.distance / self.distance_without if self.distance_without else 0.0


def measure_obedience(
    net: keras.Model,
    manifest: Manifest,
    kind: str,
    batches: Iterable[Batch],
    gives_logits: bool = True,
    strength: float = 0.0,
) -> Obedience:
    """Measures how well a network follows one kind of reference, over all examples of `batches`.

    Args:
      net: a network that takes a reference.
      manifest: the dataset of the batches.
      kind: one of `training.loop.step.REFERENCES`.
      gives_logits: whether the outputs are logits.
      strength: of training/metrics/reference_matching.py.
    """
    step = _make_step(net, manifest, kind, gives_logits, strength)
    distances = []
    for batch in batches:
        asked, followed, without = (fractions.numpy() for fractions in step(batch.edges, batch.labels))
        distances += [
            [earth_movers_distance(picture, wanted, manifest.palette.rgb) for picture in pictures]
            for wanted, *pictures in zip(asked, followed, without, strict=True)
        ]
    return Obedience(*np.mean(distances, axis=0).tolist())


def _make_step(
    net: keras.Model, manifest: Manifest, kind: str, gives_logits: bool, strength: float
) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
    """Returns a function of edges and labels to histograms: the reference, and outputs with and without."""
    colors = len(manifest.palette)

    # The fixed signature keeps a smaller last batch from being traced again.
    @tf.function(input_signature=batch_signature(manifest)[:2])
    def step(packed: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        drawings = unpack_edges(packed, manifest.image_size)
        if takes_hints(net):
            drawings = append_hints(drawings, None, manifest.palette)
        reference = make_reference(labels, kind, colors)

        def histogram(asked: tf.Tensor | None) -> tf.Tensor:
            outputs = call(net, drawings, asked)
            if asked is not None and strength:
                logits = to_logits(outputs, gives_logits)
                outputs = logits + match_reference(logits, asked, strength)[:, None, None]
            return label_fractions(tf.argmax(outputs, -1), colors)

        return reference, histogram(reference), histogram(None)

    return step
