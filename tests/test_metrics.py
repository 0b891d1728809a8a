"""Losses, scores and baselines, compared with straightforward NumPy code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import skimage.color
import tensorflow as tf
from conftest import write_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrecords_schema import Palette
from training.data.dataset import ShardedDataset
from training.errors import UsageError
from training.hydra_config import compose
from training.metrics.baselines import (
    count_labels_by_position,
    score_best_constant_picture,
    score_commonest_color,
    score_position_prior,
)
from training.metrics.ciede2000 import ciede2000, difference_table
from training.metrics.color_spaces import to_cielab, to_oklab
from training.metrics.losses import TrainingLoss, class_weights, cross_entropy, neighbour_targets
from training.metrics.scores import Scores, Tally, sum_tallies, tally_pixels

# ------------------------------------------------------------------------------------------- losses


def batch(seed: int = 0, colors: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (2, 4, 4, colors)).astype(np.float32)
    return logits, rng.integers(0, colors, (2, 4, 4), np.uint8)


def greys(count: int) -> Palette:
    return Palette("greys", tuple((v, v, v) for v in np.linspace(0, 255, count).astype(int).tolist()))


def softmax(logits: np.ndarray) -> np.ndarray:
    exp = np.exp(logits - logits.max(-1, keepdims=True).astype(np.float64))
    return exp / exp.sum(-1, keepdims=True)


LOSSES = [
    TrainingLoss(0.0, None, None),
    TrainingLoss(0.1, None, None),
    TrainingLoss(0.0, class_weights([50, 30, 20, 0, 0], 0.5), None),
    TrainingLoss(0.0, None, neighbour_targets(greys(5).rgb, 0.2)),
    TrainingLoss(0.2, class_weights([1, 2, 3, 4, 5], 0.1), neighbour_targets(greys(5).rgb, 0.3)),
]


@pytest.mark.parametrize("jit", [False, True], ids=["graph", "xla"])
@pytest.mark.parametrize("training_loss", LOSSES, ids=["plain", "smooth", "weights", "neighbours", "all"])
def test_training_losses_and_their_gradients(training_loss: TrainingLoss, jit: bool) -> None:
    logits, labels = batch()

    def value_and_gradient(z: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = training_loss(z, y)
        return value, tape.gradient(value, z)

    value, gradient = tf.function(value_and_gradient, jit_compile=jit)(
        tf.constant(logits), tf.constant(labels)
    )

    neighbours = np.eye(5) if training_loss.neighbours is None else training_loss.neighbours
    weights = np.ones(5) if training_loss.weights is None else training_loss.weights
    targets = (1 - training_loss.smoothing) * neighbours[labels] + training_loss.smoothing / 5
    weight = weights[labels][..., None]
    expected = -(weight * targets * np.log(softmax(logits))).sum(-1).mean()
    assert float(value) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(gradient, weight * (softmax(logits) - targets) / labels.size, atol=1e-6)


def test_cross_entropy() -> None:
    logits, labels = batch()
    expected = -np.log(np.take_along_axis(softmax(logits), labels[..., None].astype(int), -1)).mean()
    assert float(cross_entropy(logits, labels)) == pytest.approx(expected, rel=1e-5)


@given(st.lists(st.integers(0, 10**12), min_size=2, max_size=40).filter(any), st.floats(0.01, 1))
def test_weights_favour_rare_colours_within_bounds(histogram: list[int], fraction: float) -> None:
    weights = class_weights(histogram, fraction).astype(np.float64)
    frequencies = np.array(histogram) / sum(histogram)
    assert (frequencies * weights).sum() == pytest.approx(1, rel=1e-4)
    # The bound is reached by a colour that never occurs beside one that all pixels have.
    assert weights.max() / weights.min() <= (1 + (1 - fraction) * len(histogram) / fraction) * (1 + 1e-4)
    order = np.argsort(frequencies)
    assert (np.diff(weights[order]) <= 1e-6 * weights.max()).all()
    if fraction == 1:
        np.testing.assert_allclose(weights, 1, rtol=1e-6)


def test_weights_of_a_known_histogram() -> None:
    # (0.5 p + 0.5 / 4)^-1 = 2.18, 4.8, 4.8, 8; the mean weight of a pixel is 3.05.
    weights = class_weights([4, 1, 1, 0], 0.5)
    raw = 1 / (0.5 * np.array([4, 1, 1, 0]) / 6 + 0.125)
    np.testing.assert_allclose(weights, raw / (raw @ [4, 1, 1, 0] * 1 / 6), rtol=1e-6)
    assert weights[3] == weights.max()


def test_soft_targets_include_similar_colours() -> None:
    palette = Palette("p", ((200, 0, 0), (210, 10, 0), (0, 0, 200)))
    targets = neighbour_targets(palette.rgb, 0.05)
    np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-6)
    assert targets[0, 0] > targets[0, 1] > 0.2
    assert targets[0, 2] < 1e-6
    np.testing.assert_allclose(neighbour_targets(palette.rgb, 1e-3), np.eye(3), atol=1e-6)


def test_the_training_loss_uses_the_training_split_and_the_palette(shared_dataset: Any) -> None:
    manifest = ShardedDataset.open(str(shared_dataset)).manifest
    config = compose(["data.root=x", "loss=rebalanced", "loss.neighbour_sigma=0.1"]).loss
    training_loss = TrainingLoss.from_config(config, manifest)
    assert training_loss.weights is not None
    assert training_loss.weights.argmin() == np.argmax(manifest.splits["train"].label_histogram)
    assert training_loss.neighbours is not None
    assert training_loss.neighbours.shape == (8, 8)
    assert TrainingLoss.from_config(compose(["data.root=x"]).loss, manifest).is_cross_entropy


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("loss.uniform_share=0", "loss.uniform_share must be above 0, up to 1; got 0"),
        ("loss.neighbour_sigma=-1", "loss.neighbour_sigma must be from 0 to 1; got -1"),
    ],
)
def test_settings_out_of_range(override: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        compose(["data.root=x", override])


def test_soft_targets_of_large_palettes_are_rejected(tmp_path: Any) -> None:
    root = write_dataset(tmp_path / "many", train=8, val=0, shards=1, num_values=11)
    config = compose([f"data.root={root}", "loss.neighbour_sigma=0.1", "trainer.batch_size=4"])
    with pytest.raises(UsageError, match="up to 1,024 colours, but this one has 1,331"):
        config.check_fits(ShardedDataset.open(str(root)).manifest)


# ------------------------------------------------------------------------------------------- colours

# Table 1 of Sharma, Wu, Dalal (2005): L, a, b of both colours, and their difference.
SHARMA = """
50 2.6772 -79.7751   50 0 -82.7485   2.0425
50 3.1571 -77.2803   50 0 -82.7485   2.8615
50 2.8361 -74.0200   50 0 -82.7485   3.4412
50 -1.3802 -84.2814  50 0 -82.7485   1.0000
50 -1.1848 -84.8006  50 0 -82.7485   1.0000
50 -0.9009 -85.5211  50 0 -82.7485   1.0000
50 0 0               50 -1 2         2.3669
50 -1 2              50 0 0          2.3669
50 2.4900 -0.0010    50 -2.4900 0.0009  7.1792
50 2.4900 -0.0010    50 -2.4900 0.0010  7.1792
50 2.4900 -0.0010    50 -2.4900 0.0011  7.2195
50 2.4900 -0.0010    50 -2.4900 0.0012  7.2195
50 -0.0010 2.4900    50 0.0009 -2.4900  4.8045
50 -0.0010 2.4900    50 0.0010 -2.4900  4.8045
50 -0.0010 2.4900    50 0.0011 -2.4900  4.7461
50 2.5 0             50 0 -2.5       4.3065
50 2.5 0             73 25 -18       27.1492
50 2.5 0             61 -5 29        22.8977
50 2.5 0             56 -27 -3       31.9030
50 2.5 0             58 24 15        19.4535
50 2.5 0             50 3.1736 0.5854  1.0000
50 2.5 0             50 3.2972 0     1.0000
50 2.5 0             50 1.8634 0.5757  1.0000
50 2.5 0             50 3.2592 0.3350  1.0000
60.2574 -34.0099 36.2677   60.4626 -34.1751 39.4387   1.2644
63.0109 -31.0961 -5.8663   62.8187 -29.7946 -4.0864   1.2630
61.2901 3.7196 -5.3901     61.4292 2.2480 -4.9620     1.8731
35.0831 -44.1164 3.7933    35.0232 -40.0716 1.5901    1.8645
22.7233 20.0904 -46.6940   23.0331 14.9730 -42.5619   2.0373
36.4612 47.8580 18.3852    36.2715 50.5065 21.2231    1.4146
90.8027 -2.0831 1.4410     91.1528 -1.6435 0.0447     1.4441
90.9257 -0.5406 -0.9208    88.6381 -0.8985 -0.7239    1.5381
6.7747 -0.2908 -2.4247     5.8714 -0.0985 -2.2286     0.6377
2.0776 0.0795 -1.1350      0.9033 -0.0636 -0.5514     0.9082
"""
PAIRS = np.array([line.split() for line in SHARMA.strip().splitlines()], np.float64)


@pytest.mark.parametrize("xp", [np, tf.experimental.numpy], ids=["numpy", "tensorflow"])
def test_ciede2000_gives_the_published_differences(xp: Any) -> None:
    first, second, published = PAIRS[:, :3], PAIRS[:, 3:6], PAIRS[:, 6]
    if xp is not np:
        first, second = tf.constant(first), tf.constant(second)
    np.testing.assert_allclose(ciede2000(first, second, xp), published, atol=5.1e-5)
    np.testing.assert_allclose(ciede2000(second, first, xp), published, atol=5.1e-5)


@given(st.integers(0, 2**32))
def test_ciede2000_agrees_with_skimage(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.uniform([0, -100, -100], [100, 100, 100], (2, 50, 3))
    np.testing.assert_allclose(
        ciede2000(first, second), skimage.color.deltaE_ciede2000(first, second), atol=1e-9
    )


def test_color_spaces() -> None:
    rgb = Palette.grid(6).rgb
    np.testing.assert_allclose(to_cielab(rgb), skimage.color.rgb2lab(rgb), atol=0.03)
    table = difference_table(rgb)
    assert np.array_equal(table, table.T)
    assert not table.diagonal().any()
    white, black, red = to_oklab(np.array([[255] * 3, [0] * 3, [255, 0, 0]], np.uint8))
    np.testing.assert_allclose(white, [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(black, 0, atol=1e-6)
    np.testing.assert_allclose(red, [0.62796, 0.22486, 0.12585], atol=1e-4)  # published by Ottosson


# -------------------------------------------------------------------------------------------- scores


def scores_by_hand(logits: np.ndarray, labels: np.ndarray, palette: Palette) -> Scores:
    """Computes the scores pixel by pixel."""
    loss, correct, top3, difference = 0.0, 0, 0, 0.0
    hits, counts = {}, {}  # type: ignore[var-annotated]
    lab = to_cielab(palette.rgb)
    for z, label in zip(logits.reshape(-1, len(palette)), labels.ravel(), strict=True):
        most_probable = sorted(range(len(palette)), key=lambda color: (-z[color], color))
        loss -= float(np.log(softmax(z)[label]))
        top3 += label in most_probable[:3]
        difference += float(ciede2000(lab[label], lab[most_probable[0]]))
        correct += label == most_probable[0]
        counts[label] = counts.get(label, 0) + 1
        hits[label] = hits.get(label, 0) + (label == most_probable[0])
    balanced = float(np.mean([hits[color] / counts[color] for color in counts]))
    return Scores(*(value / labels.size for value in (loss, correct)), balanced, *(
        value / labels.size for value in (top3, difference)
    ))  # fmt: skip


def tally(logits: np.ndarray, labels: np.ndarray, palette: Palette) -> Tally:
    return tally_pixels(cross_entropy(logits, labels), tf.constant(logits), tf.constant(labels), palette.rgb)


def assert_close(scores: Scores, expected: Scores) -> None:
    for name, value in vars(expected).items():
        assert getattr(scores, name) == pytest.approx(value, rel=2e-5, abs=1e-6), name


# 343 colours are too many for a confusion matrix.
@settings(max_examples=15)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 2**16), st.sampled_from([2, 3, 7]))
def test_scores_do_not_depend_on_the_batches(sizes: list[int], seed: int, num_values: int) -> None:
    palette = Palette.grid(num_values)
    rng = np.random.default_rng(seed)
    # Few values, so that some logits are equal.
    logits = rng.integers(-3, 4, (sum(sizes), 2, 2, len(palette))).astype(np.float32)
    labels = rng.integers(0, len(palette), (sum(sizes), 2, 2)).astype(palette.label_dtype)
    parts = zip(*(np.split(array, np.cumsum(sizes)[:-1]) for array in (logits, labels)), strict=True)
    added, whole = sum_tallies(tally(*part, palette) for part in parts), tally(logits, labels, palette)
    for name in ("top3", "hits", "counts", "confusion"):
        assert np.array_equal(getattr(added, name), getattr(whole, name))
    assert_close(Scores.from_tally(added), Scores.from_tally(whole))
    assert_close(Scores.from_tally(added), scores_by_hand(logits, labels, palette))


@pytest.mark.parametrize("num_values", [3, 7])
@pytest.mark.parametrize("compiled", [tf.function, lambda f: tf.function(f, jit_compile=True)])
def test_compiled_tallies_are_the_same(compiled: Callable[..., Any], num_values: int) -> None:
    palette = Palette.grid(num_values)
    logits, labels = batch(colors=len(palette) if num_values == 3 else 27)
    if num_values == 7:
        logits = np.tile(logits, 13)[..., : len(palette)]
    result = compiled(lambda z, y: tally_pixels(cross_entropy(z, y), z, y, palette.rgb))(logits, labels)
    assert [part.dtype.name for part in result] == ["float64", "int64", "float64"] + ["int64"] * 3
    assert_close(Scores.from_tally(result), scores_by_hand(logits, labels, palette))


def test_the_rows_of_the_confusion_matrix_are_true_labels() -> None:
    logits = np.zeros((1, 1, 3, 8), np.float32)
    logits[0, 0, :, 5] = 1
    confusion = tally(logits, np.array([[[5, 2, 2]]], np.uint8), Palette.grid(2)).confusion.numpy()
    assert confusion[2, 5] == 2
    assert confusion[5, 5] == 1
    assert confusion.sum() == 3


def test_bits() -> None:
    assert Scores(loss=float(np.log(8)), accuracy=0).bits == pytest.approx(3)


# ----------------------------------------------------------------------------------------- baselines


def make_labels(seed: int, count: int, size: int = 8, colors: int = 8) -> np.ndarray:
    """Returns random label maps with lower labels on the left."""
    rng = np.random.default_rng(seed)
    mixed = rng.integers(0, colors - 1, (count, size, size)) + (np.arange(size) > size / 2)
    return np.where(rng.random(mixed.shape) < 0.5, mixed, mixed // 2).astype(np.uint8)


def by_hand(probabilities: np.ndarray, labels: np.ndarray, palette: Palette) -> Scores:
    """Scores the prediction `probabilities`, [S, S, K], for every image as if a network had made it."""
    with np.errstate(divide="ignore"):
        logits = np.maximum(np.log(probabilities), -50).astype(np.float32)
    return scores_by_hand(np.broadcast_to(logits, (*labels.shape, len(palette))), labels, palette)


def test_baselines_agree_with_scores_pixel_by_pixel() -> None:
    palette, train, val = Palette.grid(2), make_labels(0, 30), make_labels(1, 10)
    train_counts = count_labels_by_position([train[:16], train[16:]], 8, 8)
    counts = count_labels_by_position([val], 8, 8)
    frequencies = np.bincount(val.ravel(), minlength=8) / val.size
    constant = score_commonest_color(np.bincount(val.ravel(), minlength=8).tolist(), palette)
    assert_close(constant, by_hand(np.tile(frequencies, (8, 8, 1)), val, palette))

    position_counts = np.stack([(train == color).sum(0) for color in range(8)], -1)
    assert_close(
        score_position_prior(train_counts, counts, palette),
        by_hand((position_counts + 1) / (30 + 8), val, palette),
    )
    best = score_best_constant_picture(counts, palette)
    assert_close(best, by_hand(np.stack([(val == color).mean(0) for color in range(8)], -1), val, palette))


@settings(max_examples=20)
@given(st.integers(0, 2**16), st.integers(1, 12))
def test_no_constant_picture_beats_the_best(seed: int, count: int) -> None:
    palette, val = Palette.grid(2), make_labels(seed, count)
    counts = count_labels_by_position([val], 8, 8)
    best = score_best_constant_picture(counts, palette)
    others = [
        score_position_prior(count_labels_by_position([make_labels(seed + 1, 20)], 8, 8), counts, palette),
        score_commonest_color(np.bincount(val.ravel(), minlength=8).tolist(), palette),
    ]
    for other in others:
        assert best.accuracy >= other.accuracy
        assert best.loss <= other.loss + 1e-12
