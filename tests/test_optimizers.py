"""Which optimizer updates each weight, and whether Keras still calls the overridden methods."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import make_manifest

from training.config import TrainConfig
from training.errors import WorkError
from training.hydra_config import compose
from training.loop import optimizers
from training.loop.checkpoint import load_newest_checkpoint
from training.loop.checkpoint_file import Progress, SavedVariable, write_checkpoint
from training.loop.distribution import Replicas
from training.loop.optimizers import AdamW, ConvMuon, hidden_kernels, make_optimizer
from training.loop.step import CompiledModel
from training.models import build_model, input_and_output_layers

SMALL = {
    "unet": ["experiment=smoke", "model.widths=[16,24,32]", "model.blocks=[0,0,1]"],
    "resunet": ["model=resunet", "model.widths=[8,16]", "model.blocks=1", "model.attention=1"],
    "article": ["model=article", "model.width=0.005"],
    "article_logits": ["model=article_logits", "model.width=0.005"],
}
# The hidden convolutions of each network, by the names that training/models gives them.
HIDDEN = {
    "unet": [
        "down1", "with_place", "down2", "down2_block1_a", "down2_block1_b", "up1_narrow", "up1",
        "up_half_narrow", "up_half", "full_up",
    ],
    "resunet": [
        "down0_block1_a", "down0_block1_b", "down1", "down1_block1_a", "down1_block1_b", "up0_narrow",
        "up0_join", "up0_block1_a", "up0_block1_b",
    ],
    "article": [
        *[f"down{level}" for level in range(2, 8)], *[f"middle{number}" for number in range(1, 5)],
        *[f"up{level}" for level in range(1, 6)],
    ],
    "article_logits": [
        *[f"down{level}" for level in range(2, 8)], *[f"middle{number}" for number in range(1, 5)],
        *[f"up{level}" for level in range(1, 7)],
    ],
}  # fmt: skip
# The layers that take the drawing and the layer that returns the scores.
ENDS = {
    "unet": {"half", "full_lines", "logits"},
    "resunet": {"in", "logits"},
    "article": {"down1", "softmax"},
    "article_logits": {"down1", "logits"},
}


# Networks without and with each of the inputs that they can take. A reference adds dense layers only.
INPUTS = [
    (name, more)
    for name in SMALL
    for more in ("", "hints", "reference", "hints,reference")
    if "reference" not in more or not name.startswith("article")
]


def configured(name: str, inputs: str = "") -> TrainConfig:
    more = [f"model.{key}=true" for key in inputs.split(",") if key]
    return compose(["data.root=x", "optimizer=muon", *SMALL[name], *more])


def network(config: TrainConfig) -> keras.Model:
    return build_model(config.model, colors=5, seed=0)


@pytest.mark.parametrize(("name", "inputs"), INPUTS)
def test_muon_updates_the_hidden_convolutions_and_adamw_all_else(name: str, inputs: str) -> None:
    config = configured(name, inputs)
    net = network(config)
    optimizer = make_optimizer(
        config.optimizer, "float32", hidden_kernels(net, input_and_output_layers(config.model))
    )
    optimizer.build(net.trainable_variables)
    by_adamw = {
        variable.path
        for variable, velocity in zip(net.trainable_variables, optimizer.adam_velocities, strict=True)
        if velocity is not None
    }
    by_muon = {variable.path for variable in net.trainable_variables} - by_adamw
    assert by_muon == {f"{layer}/kernel" for layer in HIDDEN[name]}
    assert {f"{layer}/kernel" for layer in ENDS[name]} <= by_adamw


@pytest.mark.parametrize(("name", "inputs"), INPUTS)
def test_the_first_and_last_layers_are_those_at_the_ends_of_the_network(name: str, inputs: str) -> None:
    """The layers are marked by name; their connections tell whether the marks are right."""
    config = configured(name, inputs)
    net = network(config)
    weighted = [layer for layer in net.layers if hasattr(layer, "kernel")]
    weighted = [layer for layer in weighted if not layer.name.startswith("reference_")]
    first = {layer.name for layer in weighted if layer.input is net.inputs[0]}
    last = [layer.name for layer in weighted][-1]
    assert first | {last} == ENDS[name]
    assert ENDS[name] <= set(input_and_output_layers(config.model))


def muon_step(kernel: np.ndarray, gradient: np.ndarray, *, transposed: bool) -> np.ndarray:
    """Returns a kernel after one step of Muon with learning rate 1 and no weight decay."""
    variable = keras.Variable(kernel, name="kernel")
    optimizer = ConvMuon(1.0, {variable.path: transposed}, weight_decay=0.0)
    optimizer.build([variable])
    optimizer.apply([tf.constant(gradient)], [variable])
    return variable.numpy()


def test_a_kernel_is_flattened_with_its_outputs_as_columns() -> None:
    rng = np.random.default_rng(0)
    gradient = rng.normal(size=(3, 3, 4, 6)).astype(np.float32)
    update = -muon_step(np.zeros_like(gradient), gradient, transposed=False)
    matrix = update.reshape(36, 6) / (0.2 * 6)  # 0.2 √max(3·3·4, 6)
    np.testing.assert_allclose(np.linalg.svd(matrix, compute_uv=False), np.ones(6), atol=0.35)
    # The direction is that of the nearest orthogonal matrix, U Vᵀ.
    u, _, v = np.linalg.svd(gradient.reshape(36, 6), full_matrices=False)
    assert np.sum(matrix * (u @ v)) / np.linalg.norm(matrix) / np.sqrt(6) > 0.98


def test_a_transposed_kernel_has_the_step_of_the_same_map_untransposed() -> None:
    """[h, w, out, in] and [h, w, in, out] hold the same linear map: only the axes of the step differ."""
    rng = np.random.default_rng(1)
    kernel, gradient = rng.normal(size=(2, 3, 3, 4, 7)).astype(np.float32)
    plain = muon_step(kernel, gradient, transposed=False)
    swapped = muon_step(kernel.swapaxes(2, 3), gradient.swapaxes(2, 3), transposed=True)
    np.testing.assert_allclose(swapped.swapaxes(2, 3), plain, rtol=1e-5, atol=1e-6)


def test_transposed_convolutions_are_marked() -> None:
    config = configured("article_logits")
    kernels = hidden_kernels(network(config), input_and_output_layers(config.model))
    transposed = [layer for layer in HIDDEN["article_logits"] if layer.startswith("up")]
    transposed += ["middle3", "middle4"]
    assert {path for path, is_transposed in kernels.items() if is_transposed} == {
        f"{layer}/kernel" for layer in transposed
    }


# ---- private names of Keras ---------------------------------------------------------------------------


@pytest.mark.parametrize("ours", [AdamW, ConvMuon], ids=lambda ours: ours.__name__)
def test_keras_has_every_overridden_method(ours: type) -> None:
    kerass = next(base for base in ours.__mro__ if base.__module__.startswith("keras"))
    overridden = [
        name
        for base in ours.__mro__
        if base.__module__ == optimizers.__name__
        for name, member in vars(base).items()
        if inspect.isfunction(member) and name != "__init__"
    ]
    new = {"_orthogonalize"}
    missing = [name for name in overridden if name not in new and not hasattr(kerass, name)]
    assert not missing, f"Keras {keras.__version__} has renamed {missing}: see training/loop/optimizers.py"
    assert "_all_reduce_sum_gradients" in overridden


def test_keras_has_every_attribute_that_is_used() -> None:
    variable = keras.Variable(np.zeros((3, 3, 2, 2), np.float32), name="kernel")
    optimizer = ConvMuon(0.1, {variable.path: False})
    optimizer.build([variable])
    used = [
        "zeropower_via_newtonschulz5", "ns_steps", "rms_rate", "momentum", "momentums", "adam_velocities",
        "_get_variable_index", "_trainable_variables", "assign_add", "assign_sub",
    ]  # fmt: skip
    missing = [name for name in used if not hasattr(optimizer, name)]
    assert not missing, (
        f"Keras {keras.__version__} has no {missing} any more: see training/loop/optimizers.py"
    )


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_keras_calls_every_overridden_method(
    name: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If Keras renamed one, the override would never be called, and Muon would silently become AdamW."""
    called = set()

    def spy_on(kind: type, method: str) -> None:
        original = getattr(kind, method)

        def spy(self: Any, *args: Any, **kwargs: Any) -> Any:
            called.add(method)
            return original(self, *args, **kwargs)

        monkeypatch.setattr(kind, method, spy)

    expected = {"_all_reduce_sum_gradients"}
    spy_on(optimizers._ReducedGradients, "_all_reduce_sum_gradients")
    if name == "muon":
        expected |= {"_should_use_adamw", "update_step", "_orthogonalize"}
        for method in sorted(expected - {"_all_reduce_sum_gradients"}):
            spy_on(ConvMuon, method)
    variable = keras.Variable(np.ones((3, 3, 2, 2), np.float32), name="kernel")
    config = compose(["data.root=x", f"optimizer={name}"]).optimizer
    optimizer = make_optimizer(config, precision, {variable.path: False})
    optimizer.build([variable])
    optimizer.apply([tf.ones((3, 3, 2, 2))], [variable])
    assert called == expected


# ---- checkpoints of earlier versions ------------------------------------------------------------------


def test_a_checkpoint_of_an_optimizer_with_other_variables_is_refused(tmp_path: Path) -> None:
    """Earlier versions updated the first layers of a network with hints by Muon, without a velocity."""
    config = configured("unet", "hints")
    model = CompiledModel.create(network(config), make_manifest(16), config, Replicas.create("one"))
    saved = [v for v in model.variables if not ("velocity" in v.path and "full_lines_kernel" in v.path)]
    assert len(saved) == len(model.variables) - 1
    path = tmp_path / "step-00000004.npz"
    write_checkpoint(path, Progress(step=4), [SavedVariable(v.path, v.numpy()) for v in saved])
    with pytest.raises(WorkError) as error:
        load_newest_checkpoint(tmp_path, model)
    for word in (str(path), "another version", "run.json", "hydra.run.dir=ANOTHER"):
        assert word in str(error.value)
