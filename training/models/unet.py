"""The default network: a U-Net (Ronneberger et al. 2015) that trains on a CPU.

The cost of a layer on a CPU grows with its number of pixels: one 3×3 convolution at full resolution costs as
much as the lower half of the network. So the drawing is halved at once, and most channels are at a quarter of
the resolution and below. Full resolution has one transposed convolution and one convolution of the drawing,
since colours change at lines, and the two finest levels have no normalization. Three parts differ from a
U-Net:

* Coordinate channels (CoordConv, Liu et al. 2018) tell the network where a pixel is: the sky is at the top.
* Global context: the mean over the image is added to every pixel, since the colours of an image depend on
  each other (compare the global features of Iizuka et al. 2016, "Let there be color!"). A reference enters
  here, at every level of the decoder, and at the logits.
* Upsampling is nearest-neighbour, or a transposed convolution whose size is twice its stride. Both avoid
  checkerboard artifacts (Odena et al. 2016); after short runs a trace remains where the network is unsure.
  Both compile under XLA with mixed precision, which bilinear upsampling does not.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import keras
from keras import layers

from training.config import UNetConfig
from training.models.blocks import coordinate_channels, glorot_uniform, he_normal
from training.models.reference import Reference, add_reference, network

INPUT_AND_OUTPUT_LAYERS = ("half", "full_lines", "logits")
# Running means must converge within the few hundred steps of a short run; Keras's 0.99 takes thousands.
NORM_MOMENTUM = 0.9


def build(config: UNetConfig, colors: int, seed: int) -> keras.Model:
    """Builds the network: drawings, float [B, H, W, C], to logits [B, H, W, K].

    H and W are multiples of `config.stride`. With `config.reference` it has a second input, float [B, K].
    """
    seeds = itertools.count(seed)
    edges = keras.Input((None, None, config.channels), name="edges")
    reference = Reference(colors, seed) if config.reference else None

    half = _conv_relu(edges, config.widths[0], seeds, "half", size=4, strides=2)
    skips, x = [half], half
    deepest = len(config.widths) - 1
    for level in range(1, deepest + 1):
        x = _conv_norm_relu(x, config.widths[level], seeds, f"down{level}", strides=2)
        if level == max(1, deepest - 1):
            x = layers.Concatenate(name="place")([x, coordinate_channels(x)])
            x = _conv_norm_relu(x, config.widths[level], seeds, "with_place", size=1)
        x = _residual_blocks(x, config.blocks[level], seeds, f"down{level}")
        skips.append(x)

    x = _add_global_context(x, reference, seeds)

    for level in range(deepest - 1, 0, -1):
        x = _conv_norm_relu(x, config.widths[level], seeds, f"up{level}_narrow", size=1)
        x = layers.UpSampling2D(name=f"up{level}_nearest")(x)
        x = add_reference(reference, layers.Add(name=f"up{level}_skip")([x, skips[level]]), f"up{level}")
        x = _conv_norm_relu(x, config.widths[level], seeds, f"up{level}")
        x = _residual_blocks(x, config.blocks[level], seeds, f"up{level}")

    x = layers.Conv2D(config.widths[0], 1, kernel_initializer=he_normal(seeds), name="up_half_narrow")(x)
    x = add_reference(reference, x, "up_half")
    x = layers.UpSampling2D(name="up_half_nearest")(x)
    x = layers.Concatenate(name="up_half_skip")([x, half])
    x = _conv_relu(x, config.widths[0], seeds, "up_half")
    x = _full_resolution(x, edges, config.full_width, seeds)
    # A matrix product without bias takes a third of the time of the same 1×1 convolution.
    logits = layers.Dense(colors, use_bias=False, kernel_initializer=glorot_uniform(seeds), name="logits")(x)
    return network(edges, reference, logits, config.name)


def _conv_norm_relu(
    x: keras.KerasTensor, width: int, seeds: Iterator[int], name: str, size: int = 3, strides: int = 1
) -> keras.KerasTensor:
    """Applies a convolution, a batch normalization and a ReLU."""
    layer = layers.Conv2D(
        width, size, strides, "same", use_bias=False, kernel_initializer=he_normal(seeds), name=name
    )
    x = layers.BatchNormalization(momentum=NORM_MOMENTUM, name=f"{name}_norm")(layer(x))
    return layers.ReLU(name=f"{name}_relu")(x)


def _conv_relu(
    x: keras.KerasTensor, width: int, seeds: Iterator[int], name: str, size: int = 3, strides: int = 1
) -> keras.KerasTensor:
    """Applies a convolution and a ReLU, for fine levels, where normalization costs more than it gives."""
    return layers.Conv2D(
        width, size, strides, "same", activation="relu", kernel_initializer=he_normal(seeds), name=name
    )(x)


def _residual_blocks(x: keras.KerasTensor, count: int, seeds: Iterator[int], name: str) -> keras.KerasTensor:
    """Applies residual blocks (He et al. 2016), each initialized as the identity (Goyal et al. 2017)."""
    for number in range(1, count + 1):
        block = f"{name}_block{number}"
        y = _conv_norm_relu(x, x.shape[-1], seeds, f"{block}_a")
        y = layers.Conv2D(
            x.shape[-1],
            3,
            padding="same",
            use_bias=False,
            kernel_initializer=he_normal(seeds),
            name=f"{block}_b",
        )(y)
        norm = layers.BatchNormalization(
            momentum=NORM_MOMENTUM, gamma_initializer="zeros", name=f"{block}_b_norm"
        )
        x = layers.ReLU(name=f"{block}_relu")(layers.Add(name=f"{block}_add")([x, norm(y)]))
    return x


def _add_global_context(
    x: keras.KerasTensor, reference: Reference | None, seeds: Iterator[int]
) -> keras.KerasTensor:
    """Adds a function of the mean over the image, and of the reference, to every pixel."""
    width = x.shape[-1]
    mean = layers.GlobalAveragePooling2D(keepdims=True, name="context_mean")(x)
    hidden = layers.Dense(width, kernel_initializer=he_normal(seeds), name="context_hidden")(mean)
    hidden = layers.ReLU(name="context_relu")(add_reference(reference, hidden, "context"))
    offset = layers.Dense(width, kernel_initializer="zeros", name="context")(hidden)
    return layers.Add(name="with_context")([x, offset])


def _full_resolution(
    x: keras.KerasTensor, edges: keras.KerasTensor, width: int, seeds: Iterator[int]
) -> keras.KerasTensor:
    """Upsamples from half to full resolution, and adds a convolution of the drawing itself."""
    up = layers.Conv2DTranspose(
        width, 4, 2, "same", use_bias=False, kernel_initializer=he_normal(seeds), name="full_up"
    )(x)
    lines = layers.Conv2D(width, 3, padding="same", kernel_initializer=he_normal(seeds), name="full_lines")(
        edges
    )
    return layers.ReLU(name="full_relu")(layers.Add(name="full")([up, lines]))
