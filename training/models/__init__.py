"""The networks: functional Keras models of plain layers, so that a saved .keras opens without our code."""

from __future__ import annotations

from importlib import import_module

import keras

from training.config import ModelConfig


def build_model(config: ModelConfig, colors: int, seed: int, precision: str = "float32") -> keras.Model:
    """Builds the network `config` describes.

    Args:
      colors: K, the size of the palette.
      seed: decides the initial weights; the same seed gives the same weights anywhere.
      precision: a Keras dtype policy: float32, mixed_bfloat16 or mixed_float16.

    Returns:
      A model from drawings, float [B, H, W, C], to logits (or the article's scores), float [B, H, W, K]; H
      and W are multiples of `config.stride`. C is `config.channels`: the edges, and any hints.
    """
    module = import_module(f"training.models.{config.module}")
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        return module.build(config, colors, seed)
    finally:
        keras.config.set_dtype_policy(before)


def input_and_output_layers(config: ModelConfig) -> tuple[str, ...]:
    """The names of the layers of this network that see the drawing or give the scores."""
    return import_module(f"training.models.{config.module}").INPUT_AND_OUTPUT_LAYERS
