"""The networks: their sizes and inputs, and saved networks, which open without this package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import make_manifest

from training.config import TrainConfig
from training.hydra_config import compose
from training.loop.distribution import Replicas
from training.loop.step import CompiledModel
from training.models import build_model
from training.models.predict import predict_labels
from training.run.artifacts import save_network

SMALL = {
    "unet": ["experiment=smoke"],
    "resunet": ["model=resunet", "model.widths=[8,16,16]", "model.blocks=1", "model.attention=1"],
    # AdamW, because tracing Muon for seventeen convolutions is slow.
    "article": ["model=article", "model.width=0.005", "optimizer=adamw"],
    "article_logits": ["model=article_logits", "model.width=0.005", "optimizer=adamw"],
}


# Each kind of layer occurs once or twice, so that tracing a step takes seconds and running it milliseconds.
TINY = {
    "unet": ["model.widths=[8,16]", "model.blocks=[0,1]"],
    "resunet": ["model.widths=[8,16]"],
    "article": [],
    "article_logits": [],
}


def small_config(name: str, *overrides: str) -> TrainConfig:
    return compose(["data.root=x", *SMALL[name], *overrides])


def small_net(name: str, seed: int = 0) -> keras.Model:
    return build_model(small_config(name).model, colors=5, seed=seed)


def weights(net: keras.Model) -> np.ndarray:
    return np.concatenate([value.ravel() for value in net.get_weights()])


def trainable(net: keras.Model) -> int:
    return sum(int(np.prod(variable.shape)) for variable in net.trainable_variables)


@pytest.mark.slow
def test_article_has_the_published_size() -> None:
    net = build_model(compose(["data.root=x", "model=article"]).model, colors=27, seed=0)
    assert net.count_params() == 290_650_308
    assert trainable(net) == 290_615_346
    assert net.count_params() - trainable(net) == 34_962
    assert net.compute_output_shape((1, 128, 128, 1)) == (1, 128, 128, 27)


def test_article_head_is_not_a_probability() -> None:
    """The last layers are softmax, upsampling and batch normalization, in the article's order."""
    net = small_net("article")
    kinds = [type(layer).__name__ for layer in net.layers[-3:]]
    assert kinds == ["Conv2DTranspose", "UpSampling2D", "BatchNormalization"]
    assert net.layers[-3].activation is keras.activations.softmax


@pytest.mark.parametrize("name", ["unet", "article_logits"])
def test_logits_come_last(name: str) -> None:
    last = small_net(name).layers[-1]
    assert isinstance(last, keras.layers.Dense | keras.layers.Conv2DTranspose)
    assert last.activation is keras.activations.linear


@pytest.mark.parametrize("name", SMALL)
def test_weights_are_a_function_of_the_seed(name: str) -> None:
    assert np.array_equal(weights(small_net(name, seed=3)), weights(small_net(name, seed=3)))
    assert not np.array_equal(weights(small_net(name, seed=3)), weights(small_net(name, seed=4)))


def test_layers_of_one_network_start_differently() -> None:
    kernels = [w for w in small_net("unet").get_weights() if w.ndim == 4 and w.std() > 0]
    starts = {tuple(kernel.ravel()[:4] / kernel.std()) for kernel in kernels}
    assert len(starts) == len(kernels)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 32), (24, 40), (8, 8), (104, 56)])
def test_unet_takes_any_multiple_of_its_stride(height: int, width: int) -> None:
    config = small_config("unet").model
    assert config.stride == 8
    net = build_model(config, colors=5, seed=0)
    assert net(np.zeros((2, height, width, 1), np.float32)).shape == (2, height, width, 5)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (33, 47), (128, 7), (100, 256)])
def test_predict_takes_any_size(height: int, width: int) -> None:
    edges = np.random.default_rng(0).integers(0, 2, (2, height, width), np.uint8)
    labels = predict_labels(small_net("unet"), edges, stride=8)
    assert labels.shape == edges.shape
    assert labels.max() < 5


def test_unet_uses_positions() -> None:
    """An empty drawing is the same everywhere, so that only the coordinate channels distinguish pixels."""
    logits = small_net("unet")(np.zeros((1, 64, 64, 1), np.float32)).numpy()[0]
    middle = logits[24:40, 24:40]
    assert np.abs(middle - middle[:1]).max() > 1e-4
    assert np.abs(middle - middle[:, :1]).max() > 1e-4


OPEN_ELSEWHERE = """
import sys, numpy as np, keras
for name in sys.argv[1:]:
    net = keras.models.load_model(f"{name}/net.keras")
    drawing = np.random.default_rng(0).integers(0, 2, (1, 128, 128, 1)).astype("float32")
    np.save(f"{name}/out.npy", net.predict(drawing, verbose=0))
assert not [name for name in sys.modules if name.split(".")[0] in ("training", "tfrecords_schema")]
"""


@pytest.fixture(scope="module")
def opened_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One directory per network: the saved network, and its logits in a process without this package."""
    folder = tmp_path_factory.mktemp("elsewhere")
    for name in SMALL:
        (folder / name).mkdir()
        save_network(small_net(name), folder / name / "net.keras")
        assert [path.name for path in (folder / name).iterdir()] == ["net.keras"]
    subprocess.run(
        [sys.executable, "-c", OPEN_ELSEWHERE, *SMALL], cwd=folder, check=True, capture_output=True
    )
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_saved_network_opens_without_our_code(name: str, opened_elsewhere: Path) -> None:
    drawing = np.random.default_rng(0).integers(0, 2, (1, 128, 128, 1)).astype("float32")
    expected = small_net(name)(drawing, training=False)
    np.testing.assert_allclose(np.load(opened_elsewhere / name / "out.npy"), expected, atol=1e-4)


def test_a_failed_save_leaves_the_old_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.keras"
    net = small_net("unet")
    save_network(net, path)
    before = path.read_bytes()

    def fail(self: keras.Model, target: Path) -> None:
        target.write_bytes(b"half a netwo")
        raise OSError("No space left on device")

    monkeypatch.setattr(keras.Model, "save", fail)
    with pytest.raises(OSError, match="No space"):
        save_network(net, path)
    assert path.read_bytes() == before


def random_batch(size: int, count: int = 4) -> tuple[tf.Tensor, tf.Tensor]:
    rng = np.random.default_rng(0)
    packed = rng.integers(0, 256, (count, size * size // 8), np.uint8)
    return tf.constant(packed), tf.constant(rng.integers(0, 5, (count, size, size), np.uint8))


COMPILED = [  # takes minutes
    ("article_logits", ["trainer.precision=mixed_bfloat16", "trainer.jit_compile=true"]),
    ("resunet", ["trainer.precision=mixed_bfloat16", "trainer.jit_compile=true"]),
    ("resunet", ["trainer.precision=mixed_float16", "model.hints=true"]),
    ("unet", ["model.hints=true", "trainer.jit_compile=true", "trainer.precision=mixed_bfloat16"]),
]


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("unet", ["trainer.precision=mixed_bfloat16"]),
        ("unet", ["trainer.precision=mixed_float16"]),
        ("unet", ["trainer.jit_compile=true"]),
        ("unet", ["trainer.precision=mixed_bfloat16", "trainer.jit_compile=true", "optimizer=adamw"]),
        ("unet", ["loss.label_smoothing=0.1", "optimizer.clip_norm=null"]),
        ("unet", ["loss=rebalanced", "loss.neighbour_sigma=0.1", "trainer.precision=mixed_float16"]),
        ("article", ["trainer.precision=mixed_bfloat16"]),
        ("unet", ["optimizer=adamw"]),
        ("resunet", []),
        ("unet", ["model.hints=true"]),
        *[pytest.param(name, overrides, marks=pytest.mark.slow) for name, overrides in COMPILED],
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_a_step_changes_the_weights(name: str, overrides: list[str]) -> None:
    config = small_config(name, *TINY[name], *overrides)
    size = max(8, config.model.stride)
    net = build_model(config.model, colors=5, seed=0, precision=config.trainer.precision)
    compiled_model = CompiledModel.create(net, make_manifest(size), config, Replicas.create("one"))
    before = weights(net)
    sums = [
        compiled_model.train_step(tf.constant(1), *random_batch(size), tf.range(4)).numpy() for _ in range(3)
    ]
    assert np.isfinite(sums).all()
    assert sums[0][2] == 4 * size * size
    assert not np.array_equal(before, weights(net))
    tally = compiled_model.eval_step(*random_batch(size, count=3), tf.range(3))
    assert np.isfinite(tally.loss)
    assert tally.counts.numpy().sum() == 3 * size * size
    assert keras.config.dtype_policy().name == "float32"
