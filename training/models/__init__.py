"""The networks, as functional Keras models of standard layers.

Standard layers keep saved .keras files independent of this package.
"""

from __future__ import annotations

from importlib import import_module

import keras

from training.config import ModelConfig


def build_model(config: ModelConfig, colors: int, seed: int, precision: str = "float32") -> keras.Model:
    """Builds the network that `config` describes.

    Args:
      config: architecture and size.
      colors: K, the size of the palette.
      seed: determines the initial weights, on any machine.
      precision: a Keras dtype policy: float32, mixed_bfloat16 or mixed_float16.

    Returns:
      A model that maps drawings, float [B, H, W, C], to logits (or to the scores of the article's network),
      float [B, H, W, K]. H and W are multiples of `config.stride`. C is `config.channels`: the edges, and the
      hints if the network takes hints. With `config.reference` the model has a second input, float [B, K]:
      see training/models/reference.py, and training/models/inputs.py on how to call it.
    """
    module = import_module(f"training.models.{config.module}")
    previous_policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        return module.build(config, colors, seed)
    finally:
        keras.config.set_dtype_policy(previous_policy)


def input_and_output_layers(config: ModelConfig) -> tuple[str, ...]:
    """Returns the names of the layers that take the drawing or give the outputs."""
    return import_module(f"training.models.{config.module}").INPUT_AND_OUTPUT_LAYERS
