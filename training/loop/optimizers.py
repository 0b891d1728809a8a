"""The optimizers: AdamW, and Muon for the kernels of convolutions.

Some methods override private methods of Keras. tests/test_optimizers.py fails if Keras renames one of them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import keras

from training.config import OptimizerConfig


class _ReducedGradients:
    """Skips Keras's sum over replicas: gradients are averaged before they are clipped, not after."""

    def _all_reduce_sum_gradients(self, grads_and_vars: list) -> list:
        return grads_and_vars


class AdamW(_ReducedGradients, keras.optimizers.AdamW):
    """keras.optimizers.AdamW for gradients that are already reduced over replicas."""


class ConvMuon(_ReducedGradients, keras.optimizers.Muon):
    """Muon (Jordan et al. 2024) for the kernels of convolutions, and AdamW for all other weights.

    Muon replaces the update of a matrix by the nearest orthogonal matrix, so that all directions are learned
    equally fast. keras.optimizers.Muon updates 2-D weights only. Here the kernel of a convolution is treated
    as the matrix [h·w·in, out], as in Jordan's speed records. A saved network does not need this class,
    because it is saved without its optimizer.

    Args:
      kernels: maps the path of each kernel that Muon updates to whether the kernel is that of a transposed
        convolution, as `hidden_kernels` returns it.
      options: arguments of keras.optimizers.Muon.
    """

    def __init__(self, learning_rate: float, kernels: Mapping[str, bool], **options: Any) -> None:
        super().__init__(learning_rate, **options)
        self._kernels = kernels

    def _should_use_adamw(self, variable: keras.Variable) -> bool:
        return variable.path not in self._kernels

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one weight: Nesterov momentum, orthogonalization, scaling."""
        index = self._get_variable_index(variable)
        transposed = self._kernels.get(self._trainable_variables[index].path)
        if transposed is None:
            super().update_step(gradient, variable, learning_rate)
            return
        momentum = self.momentums[index]
        self.assign_add(momentum, gradient + momentum * (self.momentum - 1))
        direction = gradient + self.momentum * momentum
        update = self._orthogonalize(keras.ops.swapaxes(direction, 2, 3) if transposed else direction)
        self.assign_sub(
            variable, learning_rate * (keras.ops.swapaxes(update, 2, 3) if transposed else update)
        )

    def _orthogonalize(self, kernel: Any) -> Any:
        """Returns the orthogonal matrix nearest to `kernel`, a tensor [h, w, in, out] seen as [h·w·in, out].

        It is scaled by 0.2 √max(h·w·in, out) to the usual size of AdamW's updates, so that one learning rate
        suits both optimizers (Liu et al. 2025, "Muon is scalable for LLM training"). The shape is that of
        `kernel`.
        """
        matrix = keras.ops.reshape(kernel, (-1, kernel.shape[-1]))
        scale = self.rms_rate * math.sqrt(max(matrix.shape))
        return keras.ops.reshape(
            scale * self.zeropower_via_newtonschulz5(matrix, self.ns_steps), kernel.shape
        )


def hidden_kernels(net: keras.Model, input_and_output_layers: Collection[str]) -> dict[str, bool]:
    """Finds the kernels that Muon updates: those of all convolutions except the first and last layers.

    Jordan advises against Muon for these.

    Args:
      input_and_output_layers: names of the layers that take the drawing or return the scores.

    Returns:
      A dict from the path of each kernel to whether it is that of a transposed convolution, whose shape is
      [h, w, out, in] instead of [h, w, in, out].
    """
    kinds = (keras.layers.Conv2D, keras.layers.Conv2DTranspose)
    return {
        layer.kernel.path: isinstance(layer, keras.layers.Conv2DTranspose)
        for layer in net.layers
        if isinstance(layer, kinds) and layer.name not in input_and_output_layers
    }


def make_optimizer(
    config: OptimizerConfig, precision: str, kernels: Mapping[str, bool]
) -> keras.optimizers.Optimizer:
    """Creates the optimizer that `config` describes.

    With `precision` mixed_float16 the loss is scaled, because small gradients would underflow.

    Args:
      kernels: the result of `hidden_kernels` for the network.
    """
    if config.name == "muon":
        optimizer = ConvMuon(
            config.learning_rate,
            kernels,
            weight_decay=config.weight_decay,
            adam_weight_decay=config.weight_decay,
            adam_beta_2=config.beta_2,
            global_clipnorm=config.clip_norm,
        )
    else:
        optimizer = AdamW(
            config.learning_rate,
            weight_decay=config.weight_decay,
            beta_2=config.beta_2,
            global_clipnorm=config.clip_norm,
        )
    # Weight decay regularizes kernels only (He et al. 2019, "Bag of tricks for image classification").
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    return keras.optimizers.LossScaleOptimizer(optimizer) if precision == "mixed_float16" else optimizer
