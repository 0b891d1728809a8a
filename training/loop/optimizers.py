"""The optimizers: AdamW, and Muon for the kernels of convolutions.

Some methods here override ones that Keras does not promise to keep. tests/test_optimizers.py names them and
fails when Keras has renamed one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import keras

from training.config import OptimizerConfig


class _Summed:
    """Takes gradients as summed over replicas already, so that they can be clipped as one step's."""

    def _all_reduce_sum_gradients(self, grads_and_vars: list) -> list:
        return grads_and_vars


class AdamW(_Summed, keras.optimizers.AdamW):
    """Keras's."""


class ConvMuon(_Summed, keras.optimizers.Muon):
    """Muon (Jordan et al. 2024) for the kernels that `hidden_kernels` names; AdamW for all other weights.

    Muon replaces a matrix's update by the nearest orthogonal one, so that no direction is left behind.
    Keras's takes 2-D weights alone; here the kernel of a convolution counts as the matrix [h·w·in, out], as
    in Jordan's own speed records. Optimizers are not saved with a network, so a saved one does not need this
    class.

    Args:
      kernels: for the path of each kernel that Muon takes, whether it is transposed: [h, w, out, in].
      options: those of keras.optimizers.Muon.
    """

    def __init__(self, learning_rate: float, kernels: Mapping[str, bool], **options: Any) -> None:
        super().__init__(learning_rate, **options)
        self._kernels = kernels

    def _should_use_adamw(self, variable: keras.Variable) -> bool:
        return variable.path not in self._kernels

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One update of one weight: momentum 0.95 after Nesterov, made orthogonal, scaled."""
        index = self._get_variable_index(variable)
        transposed = self._kernels.get(self._trainable_variables[index].path)
        if transposed is None:
            super().update_step(gradient, variable, learning_rate)
            return
        momentum = self.momentums[index]
        self.assign_add(momentum, gradient + momentum * (self.momentum - 1))
        direction = gradient + self.momentum * momentum
        update = self._orthogonal(keras.ops.swapaxes(direction, 2, 3) if transposed else direction)
        self.assign_sub(
            variable, learning_rate * (keras.ops.swapaxes(update, 2, 3) if transposed else update)
        )

    def _orthogonal(self, kernel: Any) -> Any:
        """The orthogonal matrix nearest to [h, w, in, out] as [h·w·in, out], in the kernel's own shape.

        It is scaled by 0.2 √max(h·w·in, out), which makes it as large as AdamW's updates usually are, so that
        one learning rate does for both (Liu et al. 2025, "Muon is scalable for LLM training").
        """
        matrix = keras.ops.reshape(kernel, (-1, kernel.shape[-1]))
        scale = self.rms_rate * math.sqrt(max(matrix.shape))
        return keras.ops.reshape(
            scale * self.zeropower_via_newtonschulz5(matrix, self.ns_steps), kernel.shape
        )


def hidden_kernels(net: keras.Model, input_and_output_layers: Collection[str]) -> dict[str, bool]:
    """The kernels that Muon takes: those of all convolutions but the first and last layers (Jordan's advice).

    Args:
      first_and_last: names of the layers that see the drawing or give the scores.

    Returns:
      For each kernel's path whether it is that of a transposed convolution: [h, w, out, in] and not
      [h, w, in, out].
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
    """The optimizer of `config`; under mixed_float16 with loss scaling: small gradients vanish there.

    `kernels` is what `hidden_kernels` says of the network.
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
    # Scales, shifts and biases are not what decay is for (He et al. 2019, "Bag of tricks").
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    return keras.optimizers.LossScaleOptimizer(optimizer) if precision == "mixed_float16" else optimizer
