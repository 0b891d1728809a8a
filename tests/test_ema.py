"""The averaged network: its values, and that it is the one that is evaluated and saved."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import make_manifest

from training.data.dataset import ShardedDataset
from training.hydra_config import compose
from training.loop.distribution import Replicas
from training.loop.step import CompiledModel
from training.loop.train import evaluate, train
from training.models import build_model

SMALL = ["experiment=smoke", "model.widths=[8,16]", "model.blocks=[0,0]"]


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_it_is_the_moving_average_of_the_weights(precision: str) -> None:
    config = compose(["data.root=x", *SMALL, "trainer.ema=0.3", f"trainer.precision={precision}"])
    net = build_model(config.model, 5, 0, precision)
    model = CompiledModel.create(net, make_manifest(16), config, Replicas.create("one"))
    rng = np.random.default_rng(0)
    packed = tf.constant(rng.integers(0, 256, (4, 32), np.uint8))
    labels = tf.constant(rng.integers(0, 5, (4, 16, 16), np.uint8))
    expected = net.get_weights()
    for step in range(1, 5):
        model.train_step(tf.constant(1), packed, labels, tf.range(4))
        # 2/11, 3/12, 4/13 and then 0.3: the warm-up ends where (1 + t) / (10 + t) reaches the decay.
        decay = min(0.3, (1 + step) / (10 + step))
        expected = [
            decay * mean + (1 - decay) * weight
            for mean, weight in zip(expected, net.get_weights(), strict=True)
        ]
    for mean, average in zip(expected, model.eval_net.get_weights(), strict=True):
        np.testing.assert_allclose(average, mean, rtol=1e-4, atol=1e-6)
    assert not np.allclose(net.get_weights()[0], model.eval_net.get_weights()[0])


def test_it_is_evaluated_and_saved(shared_dataset: Path, tmp_path: Path) -> None:
    config = compose([f"data.root={shared_dataset}", *SMALL, "trainer.ema=0.9"])
    dataset = ShardedDataset.open(str(shared_dataset))
    summary = train(config, dataset, tmp_path / "run")
    saved = keras.models.load_model(tmp_path / "run/checkpoints/last.keras", compile=False)
    plain = compose([f"data.root={shared_dataset}", *SMALL])
    model = CompiledModel.create(saved, dataset.manifest, plain, Replicas.create("one"))
    assert evaluate(model, dataset, "val", plain.trainer.batch_size) == summary.history[-1].val
