"""The encoder-decoder of the article that this project reproduces, and a variant with a corrected output.

Architecture: seven 3×3 convolutions of stride 2, from 3 to 2,187 channels, take a drawing of 128 pixels down
to a single pixel; two convolutions and two transposed convolutions of stride 1 follow; transposed
convolutions of stride 2 lead back up. Each layer is followed by a ReLU and a batch normalization (Ioffe &
Szegedy 2015). It is an autoencoder without skip connections, so that all information passes through a single
pixel. The article states 'valid' padding, but its table of shapes and its 290,650,308 parameters require
'same'.

* `article`: the table ends with a softmax, an upsampling by two and a batch normalization. The outputs are
  therefore no probabilities; `losses.to_logits` describes how they are trained nevertheless.
* `article_logits`: the layer of 27 channels has a ReLU and a batch normalization, and one more transposed
  convolution leads to full resolution and gives logits, with nothing after it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import keras

from training.config import ArticleConfig
from training.models.blocks import glorot_uniform

INPUT_AND_OUTPUT_LAYERS = ("down1", "softmax", "logits")  # the output is "softmax" or "logits"
DOWN = (3, 9, 27, 81, 243, 729, 2187)
MIDDLE = 2187
UP = (2187, 2187, 729, 243, 81)
LAST = 27


def build(config: ArticleConfig, colors: int, seed: int) -> keras.Model:
    """Builds the network: drawings, float [B, H, W, C] with H and W multiples of 128, to [B, H, W, K].

    With `config.width` 1 and 27 colours it has the article's 290,650,308 parameters.
    """
    seeds = itertools.count(seed)

    def width(channels: int) -> int:
        # 3 channels, as in the article's narrowest layer: with fewer, too little information passes.
        return max(3, round(channels * config.width))

    edges = keras.Input((None, None, config.channels), name="edges")
    x = edges
    for level, channels in enumerate(DOWN, 1):
        x = _block(x, keras.layers.Conv2D, width(channels), 2, seeds, f"down{level}")
    for number in (1, 2):
        x = _block(x, keras.layers.Conv2D, width(MIDDLE), 1, seeds, f"middle{number}")
    for number in (3, 4):
        x = _block(x, keras.layers.Conv2DTranspose, width(MIDDLE), 1, seeds, f"middle{number}")
    for level, channels in enumerate(UP, 1):
        x = _block(x, keras.layers.Conv2DTranspose, width(channels), 2, seeds, f"up{level}")
    head = _logits_head if config.gives_logits else _article_head
    return keras.Model(edges, head(x, colors, width(LAST), seeds), name=config.name)


def _block(
    x: keras.KerasTensor,
    layer: type[keras.layers.Layer],
    channels: int,
    strides: int,
    seeds: Iterator[int],
    name: str,
) -> keras.KerasTensor:
    x = layer(
        channels, 3, strides, "same", activation="relu", kernel_initializer=glorot_uniform(seeds), name=name
    )(x)
    return keras.layers.BatchNormalization(name=f"{name}_norm")(x)


def _article_head(x: keras.KerasTensor, colors: int, _: int, seeds: Iterator[int]) -> keras.KerasTensor:
    layer = keras.layers.Conv2DTranspose(
        colors, 3, 2, "same", activation="softmax", kernel_initializer=glorot_uniform(seeds), name="softmax"
    )
    x = keras.layers.UpSampling2D(name="upsampling")(layer(x))
    return keras.layers.BatchNormalization(name="scores")(x)


def _logits_head(x: keras.KerasTensor, colors: int, width: int, seeds: Iterator[int]) -> keras.KerasTensor:
    x = _block(x, keras.layers.Conv2DTranspose, width, 2, seeds, f"up{len(UP) + 1}")
    return keras.layers.Conv2DTranspose(
        colors, 3, 2, "same", kernel_initializer=glorot_uniform(seeds), name="logits"
    )(x)  # fmt: skip
