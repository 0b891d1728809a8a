"""The averaged network: what it is a mean of, and that it is the one that is judged and saved."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import manifest_of

from training.data.dataset import ShardedDataset
from training.hydra_config import compose
from training.loop.distribution import Replicas
from training.loop.step import Learner
from training.loop.train import evaluate, train
from training.models import build_model

SMALL = ["experiment=smoke", "model.widths=[8,16]", "model.blocks=[0,0]"]


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_it_is_the_mean_of_the_last_weights(precision: str) -> None:
    config = compose(["data.root=x", *SMALL, "trainer.ema=0.3", f"trainer.precision={precision}"])
    net = build_model(config.model, 5, 0, precision)
    learner = Learner.of(net, manifest_of(16), config, Replicas.of("one"))
    rng = np.random.default_rng(0)
    packed = tf.constant(rng.integers(0, 256, (4, 32), np.uint8))
    labels = tf.constant(rng.integers(0, 5, (4, 16, 16), np.uint8))
    expected = net.get_weights()
    for step in range(1, 5):
        learner.train_step(tf.constant(1), packed, labels, tf.range(4))
        # 2/11, 3/12, 4/13 and then 0.3: the warm-up ends where (1 + t) / (10 + t) reaches the decay.
        decay = min(0.3, (1 + step) / (10 + step))
        expected = [
            decay * mean + (1 - decay) * weight
            for mean, weight in zip(expected, net.get_weights(), strict=True)
        ]
    for mean, found in zip(expected, learner.judged.get_weights(), strict=True):
        np.testing.assert_allclose(found, mean, rtol=1e-4, atol=1e-6)
    assert not np.allclose(net.get_weights()[0], learner.judged.get_weights()[0])


def test_it_is_judged_and_saved(shared_dataset: Path, tmp_path: Path) -> None:
    config = compose([f"data.root={shared_dataset}", *SMALL, "trainer.ema=0.9"])
    dataset = ShardedDataset.open(str(shared_dataset))
    summary = train(config, dataset, tmp_path / "run")
    saved = keras.models.load_model(tmp_path / "run/checkpoints/last.keras", compile=False)
    plain = compose([f"data.root={shared_dataset}", *SMALL])
    learner = Learner.of(saved, dataset.manifest, plain, Replicas.of("one"))
    assert evaluate(learner, dataset, "val", plain.trainer.batch_size) == summary.epochs[-1].val
