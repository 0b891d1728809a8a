"""Simulated colour hints: their positions and colours, and networks that take them."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfrecords_schema import Palette
from training.config import HintsConfig
from training.data.hints import hint_channels, simulate_hints, simulate_point_hints
from training.data.stateless_random import StatelessRandom
from training.hydra_config import compose
from training.metrics.color_spaces import HINT_CHANNELS
from training.models import build_model

SIZE = 32
CONFIG = HintsConfig(without=0.25, most=16, longest=6)


def make_labels(count: int, colors: int = 8, block: int = 8) -> tf.Tensor:
    """Returns blocks of random labels, uint8 [count, 32, 32]."""
    coarse = np.random.default_rng(0).integers(0, colors, (count, SIZE // block, SIZE // block))
    return tf.constant(coarse.repeat(block, 1).repeat(block, 2).astype(np.uint8))


def make_random(count: int, epoch: int = 0, first: int = 0) -> StatelessRandom:
    return StatelessRandom(3, tf.constant(epoch), tf.range(first, first + count))


def test_hints_are_sparse_and_a_fraction_of_the_examples_has_none() -> None:
    hints = simulate_hints(make_labels(400), make_random(400), CONFIG).numpy()
    covered = (hints > 0).mean((1, 2))
    assert 0.2 < (covered == 0).mean() < 0.3
    assert 0.01 < covered.mean() < 0.3


def test_point_hints_have_the_label_of_their_pixel() -> None:
    labels = make_labels(64)
    hints = simulate_point_hints(labels, make_random(64), 1).numpy()
    assert {np.count_nonzero(hint) for hint in hints} <= {4, 6, 9}, "3×3 pixels, fewer at the border"
    for hint, truth in zip(hints, labels.numpy(), strict=True):
        middle = [round(float(axis.mean())) for axis in np.nonzero(hint)]
        assert len(np.unique(hint[hint > 0])) == 1
        inside = truth[middle[0], middle[1]] + 1 == hint.max()
        assert inside or (hint.max() - 1) in truth[hint > 0], "not a label under the point"


@pytest.mark.parametrize("count", [0, 1, 4, 16, 64])
def test_the_number_of_point_hints(count: int) -> None:
    hints = simulate_point_hints(make_labels(8), make_random(8), count).numpy()
    assert (np.count_nonzero(hints, axis=(1, 2)) <= 9 * count).all()
    assert (np.count_nonzero(hints, axis=(1, 2)) > 0).all() == (count > 0)


def test_hints_are_a_function_of_seed_epoch_and_example() -> None:
    labels = make_labels(6)
    together = simulate_hints(labels, make_random(6), CONFIG)
    apart = tf.concat(
        [
            simulate_hints(labels[:2], make_random(2), CONFIG),
            simulate_hints(labels[2:], make_random(4, 0, 2), CONFIG),
        ],
        0,
    )
    assert np.array_equal(together, apart)
    assert not np.array_equal(together, simulate_hints(labels, make_random(6, epoch=1), CONFIG))


def test_compiled_code_gives_the_same_hints() -> None:
    labels = make_labels(6)
    compiled = tf.function(lambda: simulate_hints(labels, make_random(6), CONFIG), jit_compile=True)
    assert np.array_equal(compiled(), simulate_hints(labels, make_random(6), CONFIG))


def test_channels_are_the_colour_and_a_mask() -> None:
    palette = Palette.grid(2)
    channels = hint_channels(tf.constant([[[0, 1], [8, 3]]]), palette).numpy()
    assert channels.shape == (1, 2, 2, HINT_CHANNELS)
    assert np.array_equal(channels[0, 0, 0], [0, 0, 0, 0])
    assert np.allclose(channels[0, 1, 0], [*palette.rgb[7] / 255, 1])


@pytest.mark.parametrize("name", ["unet", "article", "article_logits"])
def test_every_network_takes_hints(name: str) -> None:
    small = ["model.widths=[8,16]", "model.blocks=[0,0]"] if name == "unet" else ["model.width=0.02"]
    config = compose(["data.root=x", f"model={name}", "experiment=hints", *small])
    net = build_model(config.model, 8, 0)
    assert net.input_shape[-1] == 1 + HINT_CHANNELS == config.model.channels
    assert net(tf.zeros([1, 128, 128, 5])).shape == (1, 128, 128, 8)
