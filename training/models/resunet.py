"""A larger network, for a GPU: a residual U-Net with self-attention at low resolution.

The colour of a region depends on the whole image (is this sky or sea, is it dusk), and the label of a pixel
on its neighbourhood (on which side of a line is it). So the architecture combines:

* a U-Net with skip connections, which keeps full resolution (Ronneberger et al. 2015);
* residual blocks with the normalization first (He et al. 2016, "Identity mappings in deep residual
  networks");
* group normalization (Wu & He 2018), which does not depend on batch size or number of replicas;
* on the coarsest levels, self-attention between all pixels (Vaswani et al. 2017), with coordinate channels as
  the position encoding (CoordConv, Liu et al. 2018). It is a standard Keras layer and takes any image size.

A reference is added at the coarsest level, at every level of the decoder, and to the logits.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import keras
from keras import layers

from training.config import ResUNetConfig
from training.models.blocks import coordinate_channels, glorot_uniform, he_normal
from training.models.reference import Reference, add_reference, network

INPUT_AND_OUTPUT_LAYERS = ("in", "logits")
GROUP = 8  # channels per normalization group
HEAD = 32  # channels per attention head


def build(config: ResUNetConfig, colors: int, seed: int) -> keras.Model:
    """Builds the network: drawings, float [B, H, W, C], to logits [B, H, W, K].

    H and W are multiples of `config.stride`. With `config.reference` it has a second input, float [B, K].
    """
    seeds = itertools.count(seed)
    drawing = keras.Input((None, None, config.channels), name="edges")
    reference = Reference(colors, seed) if config.reference else None
    deepest = len(config.widths) - 1

    x = _conv(drawing, config.widths[0], seeds, "in")
    skips = []
    for level, width in enumerate(config.widths):
        if level:
            x = _conv(x, width, seeds, f"down{level}", strides=2)
        x = _level(x, config, level, seeds, f"down{level}")
        skips.append(x)
    x = add_reference(reference, x, f"down{deepest}")
    for level in range(deepest - 1, -1, -1):
        x = _conv(x, config.widths[level], seeds, f"up{level}_narrow", size=1)
        x = layers.UpSampling2D(name=f"up{level}_nearest")(x)
        x = layers.Concatenate(name=f"up{level}_skip")([x, skips[level]])
        x = _conv(x, config.widths[level], seeds, f"up{level}_join", size=1)
        x = add_reference(reference, x, f"up{level}")
        x = _level(x, config, level, seeds, f"up{level}")

    x = _norm(x, "out")
    logits = layers.Dense(colors, kernel_initializer=glorot_uniform(seeds), name="logits")(x)
    return network(drawing, reference, logits, config.name)


def _level(
    x: keras.KerasTensor, config: ResUNetConfig, level: int, seeds: Iterator[int], name: str
) -> keras.KerasTensor:
    """Applies residual blocks; on the `config.attention` coarsest levels each is followed by attention."""
    attends = level >= len(config.widths) - config.attention
    for number in range(1, config.blocks + 1):
        x = _residual(x, seeds, f"{name}_block{number}")
        if attends:
            x = _attention(x, seeds, f"{name}_attention{number}")
    return x


def _residual(x: keras.KerasTensor, seeds: Iterator[int], name: str) -> keras.KerasTensor:
    width = x.shape[-1]
    y = _conv(_norm(x, f"{name}_a"), width, seeds, f"{name}_a")
    # Zeros initialize the block as the identity (Goyal et al. 2017).
    last = layers.Conv2D(width, 3, padding="same", kernel_initializer="zeros", name=f"{name}_b")
    return layers.Add(name=f"{name}_add")([x, last(_norm(y, f"{name}_b"))])


def _attention(x: keras.KerasTensor, seeds: Iterator[int], name: str) -> keras.KerasTensor:
    width = x.shape[-1]
    y = layers.GroupNormalization(width // GROUP, name=f"{name}_norm")(x)
    y = layers.Concatenate(name=f"{name}_place")([y, coordinate_channels(y)])
    y = layers.Dense(width, kernel_initializer=glorot_uniform(seeds), name=f"{name}_in")(y)
    attend = layers.MultiHeadAttention(
        max(1, width // HEAD),
        HEAD,
        attention_axes=(1, 2),
        kernel_initializer=glorot_uniform(seeds),
        name=name,
    )
    out = layers.Dense(width, kernel_initializer="zeros", name=f"{name}_out")
    return layers.Add(name=f"{name}_add")([x, out(attend(y, y))])


def _norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    x = layers.GroupNormalization(x.shape[-1] // GROUP, name=f"{name}_norm")(x)
    return layers.Activation("silu", name=f"{name}_silu")(x)


def _conv(
    x: keras.KerasTensor, width: int, seeds: Iterator[int], name: str, size: int = 3, strides: int = 1
) -> keras.KerasTensor:
    return layers.Conv2D(width, size, strides, "same", kernel_initializer=he_normal(seeds), name=name)(x)
