"""The parts of the compiled step, each of them eager, in a graph and compiled with XLA."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import tfrecords_schema as schema
from training.data.augment import flip
from training.data.unpack import unpack_edges
from training.metrics.losses import TrainingLoss, cross_entropy, to_logits
from training.metrics.scores import Scores, pixel_sums


def eager(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


def graph(function: Callable[..., Any]) -> Callable[..., Any]:
    return tf.function(function)


def xla(function: Callable[..., Any]) -> Callable[..., Any]:
    return tf.function(function, jit_compile=True)


MODES = pytest.mark.parametrize("mode", [eager, graph, xla])


@MODES
@pytest.mark.parametrize("size", [8, 24, 32])
def test_unpack_is_the_inverse_of_pack(mode: Any, size: int) -> None:
    edges = np.random.default_rng(size).integers(0, 2, (3, size, size), np.uint8)
    packed = np.stack([np.frombuffer(schema.pack_edges(image), np.uint8) for image in edges])
    unpacked = mode(lambda x: unpack_edges(x, size))(tf.constant(packed))
    assert unpacked.dtype == tf.float32
    assert np.array_equal(unpacked.numpy()[..., 0], edges)


def batch(seed: int = 0, count: int = 6, size: int = 8) -> tuple[tf.Tensor, tf.Tensor]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 27, (count, size, size), np.uint8)
    # Edges and labels have the same values, so that each can be checked against the other.
    return tf.constant(labels[..., None], tf.float32), tf.constant(labels)


@MODES
def test_flip_mirrors_edges_and_labels_together(mode: Any) -> None:
    edges, labels = batch()
    chosen = tf.constant([True, False, True, False, False, True])
    flipped, flipped_labels = mode(flip)(edges, labels, chosen)
    assert np.array_equal(flipped.numpy()[..., 0], flipped_labels.numpy())
    for index, mirrored in enumerate(chosen.numpy()):
        expected = labels[index][:, ::-1] if mirrored else labels[index]
        assert np.array_equal(flipped_labels[index], expected)


@MODES
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_objective_equals_that_of_keras(mode: Any, smoothing: float) -> None:
    rng = np.random.default_rng(0)
    logits = tf.constant(rng.normal(0, 3, (2, 4, 4, 5)), tf.float32)
    labels = tf.constant(rng.integers(0, 5, (2, 4, 4)), tf.uint8)
    import keras

    expected = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)(
        tf.one_hot(labels, 5), logits
    )
    loss = mode(TrainingLoss(smoothing, None, None))(logits, labels)
    assert float(loss) == pytest.approx(float(expected), abs=1e-5)
    if smoothing == 0:
        assert float(mode(cross_entropy)(logits, labels)) == pytest.approx(float(expected), abs=1e-5)


def test_cross_entropy_is_float32_from_half_precision_logits() -> None:
    logits = tf.cast(tf.fill((1, 8, 8, 27), 100.0), tf.bfloat16)
    loss = cross_entropy(logits, tf.zeros((1, 8, 8), tf.uint8))
    assert loss.dtype == tf.float32
    assert float(loss) == pytest.approx(np.log(27), abs=1e-5)


def test_scores_are_trained_as_keras_trains_them() -> None:
    """Cross-entropy of the article's output, which is no probability, is what Keras makes of it."""
    import keras

    rng = np.random.default_rng(0)
    outputs = tf.constant(rng.normal(0.2, 0.5, (2, 4, 4, 5)), tf.float32)
    labels = tf.constant(rng.integers(0, 5, (2, 4, 4)), tf.int32)
    expected = keras.losses.SparseCategoricalCrossentropy(from_logits=False)(labels, outputs)
    loss = cross_entropy(to_logits(outputs, gives_logits=False), labels)
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    assert to_logits(outputs, gives_logits=True) is outputs


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(0, 2**16))
def test_sums_add_up_over_batches_of_any_size(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1, (sum(sizes), 4, 4, 3)).astype(np.float32)
    labels = rng.integers(0, 3, (sum(sizes), 4, 4), np.uint8)

    def sums(z: np.ndarray, y: np.ndarray) -> tf.Tensor:
        return pixel_sums(cross_entropy(z, y), z, y)

    splits = np.cumsum(sizes)[:-1]
    parts = zip(np.split(logits, splits), np.split(labels, splits), strict=True)
    whole, added = Scores.from_sums(sums(logits, labels)), Scores.from_sums(sum(sums(z, y) for z, y in parts))
    assert added.loss == pytest.approx(whole.loss, rel=1e-5)
    assert added.accuracy == pytest.approx((logits.argmax(-1) == labels).mean())
