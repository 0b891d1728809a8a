"""The optimizers: AdamW, and Muon for the kernels of convolutions."""

from __future__ import annotations

import math

import keras

from training.config import OptimizerConfig


class _Summed:
    """Takes gradients as summed over replicas already, so that they can be clipped as one step's."""

    def _all_reduce_sum_gradients(self, grads_and_vars: list) -> list:
        return grads_and_vars


class AdamW(_Summed, keras.optimizers.AdamW):
    """Keras's."""


class ConvMuon(_Summed, keras.optimizers.Muon):
    """Muon (Jordan et al. 2024) for convolutions; AdamW for whatever is no matrix inside the network.

    Muon replaces a matrix's update by the nearest orthogonal one, so that no direction is left behind.
    Keras's leaves all but 2-D weights to AdamW; here a kernel [h, w, in, out] counts as the matrix
    [h·w·in, out], as in Jordan's own speed records. First and last layer stay with AdamW, as he advises.
    A saved network knows nothing of all this: optimizers are not saved with it.
    """

    def _should_use_adamw(self, variable: keras.Variable) -> bool:
        return len(variable.shape) != 4 or variable.shape[2] == 1

    def zeropower_via_newtonschulz5(self, x: keras.KerasTensor, steps: int) -> keras.KerasTensor:
        """Keras's, on the kernel as a matrix; same shape in and out."""
        matrix = keras.ops.reshape(x, (-1, x.shape[-1]))
        return keras.ops.reshape(super().zeropower_via_newtonschulz5(matrix, steps), x.shape)

    def lr_adjust(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Makes the update as large as AdamW's usually are: one rate does for both (Liu et al. 2025)."""
        return x * (self.rms_rate * math.sqrt(max(math.prod(x.shape[:-1]), x.shape[-1])))


def make_optimizer(config: OptimizerConfig, precision: str) -> keras.optimizers.Optimizer:
    """The optimizer of `config`; under mixed_float16 with loss scaling: small gradients vanish there."""
    if config.name == "muon":
        optimizer = ConvMuon(
            config.learning_rate,
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
