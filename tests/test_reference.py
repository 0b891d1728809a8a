"""References: how they are simulated, and networks that take one."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrecords_schema import Manifest
from training.config import ReferenceConfig
from training.data.dataset import ShardedDataset
from training.data.reference import commonest_colors, label_fractions, simulate_reference
from training.data.stateless_random import StatelessRandom
from training.errors import UsageError
from training.hydra_config import compose
from training.loop.distribution import Replicas
from training.loop.step import FOUR_COLORS, OWN, WRONG, CompiledModel, make_reference
from training.models import build_model
from training.models.inputs import call, takes_hints, takes_reference
from training.models.predict import predict_labels
from training.models.reference import WIDTH

EXACT = ReferenceConfig(without=0.0, thinned=0.0, blurred=0.0, mixed=0.0)
VAGUE = ReferenceConfig(without=0.25, thinned=0.5, blurred=0.5, mixed=0.3)
SMALL = {
    "unet": ["model=unet", "model.widths=[8,16,16]", "model.blocks=[0,0,0]"],
    "resunet": ["model=resunet", "model.widths=[8,16]", "model.blocks=1", "model.attention=1"],
}


@pytest.fixture
def manifest(shared_dataset: Path) -> Manifest:
    return Manifest.load(shared_dataset)


def make_labels(count: int, colors: int) -> tf.Tensor:
    """Returns label maps of four colours each, uint8 [count, 16, 16]."""
    rng = np.random.default_rng(0)
    chosen = np.stack([rng.permutation(colors)[:4] for _ in range(count)])
    picks = rng.choice(4, (count, 16, 16), p=[0.6, 0.2, 0.15, 0.05])
    return tf.constant(np.take_along_axis(chosen, picks.reshape(count, -1), 1).reshape(picks.shape), tf.uint8)


def make_random(count: int, epoch: int = 0, first: int = 0) -> StatelessRandom:
    return StatelessRandom(3, tf.constant(epoch), tf.range(first, first + count))


# ------------------------------------------------------------------------------------------ simulated


@given(seed=st.integers(0, 1000), count=st.integers(1, 5), colors=st.integers(1, 300))
@settings(max_examples=20)
def test_fractions_are_the_histogram(seed: int, count: int, colors: int) -> None:
    labels = np.random.default_rng(seed).integers(0, colors, (count, 6, 6)).astype(np.uint16)
    expected = np.stack([np.bincount(image.ravel(), minlength=colors) / 36 for image in labels])
    np.testing.assert_allclose(label_fractions(tf.constant(labels), colors), expected, atol=1e-6)


def test_an_exact_reference_is_the_histogram(manifest: Manifest) -> None:
    colors = len(manifest.palette)
    labels = make_labels(8, colors)
    reference = simulate_reference(labels, make_random(8), EXACT, manifest)
    np.testing.assert_allclose(reference, label_fractions(labels, colors), atol=1e-6)


def test_references_add_up_to_one_or_are_absent(manifest: Manifest) -> None:
    labels = make_labels(400, len(manifest.palette))
    reference = simulate_reference(labels, make_random(400), VAGUE, manifest).numpy()
    present = reference.any(1)
    assert 0.2 < 1 - present.mean() < 0.3
    assert (reference >= 0).all()
    np.testing.assert_allclose(reference[present].sum(1), 1, atol=1e-5)


def test_thinned_references_have_few_of_the_colours(manifest: Manifest) -> None:
    colors = len(manifest.palette)
    labels = make_labels(200, colors)
    thinned = ReferenceConfig(without=0.0, thinned=1.0, blurred=0.0, mixed=0.0)
    reference = simulate_reference(labels, make_random(200), thinned, manifest).numpy()
    present = label_fractions(labels, colors).numpy() > 0
    assert not reference[~present].any(), "a colour that the example does not have"
    counts = np.count_nonzero(reference, axis=1)
    assert set(counts) <= {1, 2, 3, 4}
    assert {2, 3, 4} <= set(counts), "of four colours, two, three or all are kept"
    # Some are nearly even, some as in the picture.
    largest = reference.max(1)[counts == 2]
    assert largest.min() < 0.6 < 0.75 < largest.max()


def test_mixing_adds_colours_and_blurring_adds_similar_ones(manifest: Manifest) -> None:
    colors = len(manifest.palette)
    labels = make_labels(100, colors)
    exact = label_fractions(labels, colors).numpy()
    for settings_ in (
        ReferenceConfig(without=0.0, thinned=0.0, blurred=0.0, mixed=0.3),
        ReferenceConfig(without=0.0, thinned=0.0, blurred=0.5, mixed=0.0),
    ):
        reference = simulate_reference(labels, make_random(100), settings_, manifest).numpy()
        distance = np.abs(reference - exact).sum(1) / 2
        assert 0.5 < (distance < 1e-6).mean() < 0.8, "most are exact"
        assert 0.02 < distance.max() <= 0.5 + 1e-6


def test_references_are_a_function_of_seed_epoch_and_example(manifest: Manifest) -> None:
    labels = make_labels(6, len(manifest.palette))
    together = simulate_reference(labels, make_random(6), VAGUE, manifest)
    apart = tf.concat(
        [
            simulate_reference(labels[:2], make_random(2), VAGUE, manifest),
            simulate_reference(labels[2:], make_random(4, first=2), VAGUE, manifest),
        ],
        axis=0,
    )
    np.testing.assert_allclose(together, apart, atol=1e-6)
    assert not np.allclose(together, simulate_reference(labels, make_random(6, epoch=1), VAGUE, manifest))


def test_compiled_code_gives_the_same_references(manifest: Manifest) -> None:
    labels = make_labels(6, len(manifest.palette))

    def simulate() -> tf.Tensor:
        return simulate_reference(labels, make_random(6), VAGUE, manifest)

    np.testing.assert_allclose(tf.function(simulate, jit_compile=True)(), simulate(), atol=1e-6)


def test_references_for_evaluation() -> None:
    labels = tf.constant([[[0, 0], [0, 1]], [[2, 2], [2, 2]]], tf.uint8)
    own = make_reference(labels, OWN, 6).numpy()
    assert own.tolist() == [[0.75, 0.25, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0]]
    assert make_reference(labels, FOUR_COLORS, 6).numpy().tolist() == [
        [0.5, 0.5, 0, 0, 0, 0],
        [0, 0, 1, 0, 0, 0],
    ]
    assert make_reference(labels, WRONG, 6).numpy().tolist() == own[::-1].tolist()
    assert commonest_colors(tf.constant([[0.1, 0.2, 0.3, 0.4]]), 2).numpy().tolist() == [[0, 0, 0.5, 0.5]]


# ------------------------------------------------------------------------------------------- networks


def small_config(name: str, *overrides: str) -> list[str]:
    return ["data.root=x", *SMALL[name], *overrides]


@pytest.mark.parametrize("name", SMALL)
def test_a_new_network_ignores_its_reference(name: str) -> None:
    plain = build_model(compose(small_config(name)).model, 6, 0)
    net = build_model(compose(small_config(name, "experiment=reference")).model, 6, 0)
    assert takes_reference(net)
    assert not takes_reference(plain)
    assert not takes_hints(net)
    drawings = tf.constant(np.random.default_rng(0).integers(0, 2, (2, 32, 32, 1)), tf.float32)
    reference = tf.constant([[0.5, 0.5, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1.0]])
    assert np.array_equal(call(net, drawings, reference), plain(drawings))


@pytest.mark.parametrize("name", SMALL)
def test_no_reference_is_zeros(name: str) -> None:
    """In a trained network, too: None equals zeros, and differs from a reference."""
    net = build_model(compose(small_config(name, "experiment=reference", "model.hints=true")).model, 6, 0)
    assert takes_hints(net)
    rng = np.random.default_rng(0)
    net.set_weights([weight + rng.normal(0, 0.1, weight.shape) for weight in net.get_weights()])
    drawings = tf.constant(rng.integers(0, 2, (2, 32, 32, 5)), tf.float32)
    without = call(net, drawings).numpy()
    assert np.array_equal(without, call(net, drawings, tf.zeros([2, 6])))
    assert np.abs(without - call(net, drawings, tf.fill([2, 6], 1 / 6))).max() > 1e-3


def test_labels_are_predicted_with_and_without_a_reference() -> None:
    net = build_model(compose(small_config("unet", "experiment=reference")).model, 6, 0)
    edges = np.random.default_rng(0).integers(0, 2, (2, 33, 20), np.uint8)
    net.get_layer("reference_logits").set_weights([np.full((WIDTH, 6), 1.0) * [0, 0, 0, 0, 0, 9]])
    assert len(np.unique(predict_labels(net, edges, 8))) > 1
    reference = np.full((2, 6), 1 / 6, np.float32)
    assert np.unique(predict_labels(net, edges, 8, reference)).tolist() == [5]


def test_a_network_without_a_reference_refuses_one() -> None:
    net = build_model(compose(small_config("unet")).model, 6, 0)
    with pytest.raises(AssertionError, match="takes no reference"):
        call(net, tf.zeros([1, 32, 32, 1]), tf.zeros([1, 6]))


@pytest.mark.parametrize("name", ["article", "article_logits"])
def test_the_articles_networks_take_none(name: str) -> None:
    with pytest.raises(UsageError, match=r"model\.reference must be false with model=article"):
        compose(["data.root=x", f"model={name}", "experiment=reference"])


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_a_network_learns_to_follow_its_reference(shared_dataset: Path, precision: str) -> None:
    """The colour of an empty drawing cannot be guessed from the drawing."""
    dataset = ShardedDataset.open(str(shared_dataset))
    config = compose(
        [
            f"data.root={shared_dataset}", *SMALL["unet"], "experiment=reference", "optimizer=adamw",
            "optimizer.schedule=constant", "optimizer.warmup=0", "augment=none", "reference.without=0",
            "reference.thinned=0", f"trainer.precision={precision}",
        ]
    )  # fmt: skip
    colors = len(dataset.manifest.palette)
    keras.utils.clear_session()
    net = build_model(config.model, colors, 0, precision)
    model = CompiledModel.create(net, dataset.manifest, config, Replicas.create("one"))
    size = dataset.manifest.image_size
    rng = np.random.default_rng(0)

    def step() -> float:
        labels = np.broadcast_to(rng.integers(0, colors, (16, 1, 1)), (16, size, size)).astype(np.uint8)
        edges = np.zeros((16, size * size // 8), np.uint8)
        columns = map(tf.constant, (edges, labels, np.arange(16, dtype=np.int32)))
        loss, _, pixels = model.train_step(tf.constant(1), *columns).numpy()
        return loss / pixels

    losses = [step() for _ in range(60)]
    assert losses[0] > 1
    assert np.mean(losses[-5:]) < 0.6 * losses[0]


# ------------------------------------------------------------------------------------------- settings


def test_settings_are_checked() -> None:
    with pytest.raises(UsageError, match=r"reference\.without must be from 0 to 1; got 2"):
        compose(["data.root=x", "reference.without=2"])
    config = compose(["data.root=x", "experiment=reference"])
    assert config.model.reference
    assert config.reference == ReferenceConfig(0.5, 0.4, 0.4, 0.3)
