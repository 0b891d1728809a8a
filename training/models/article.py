"""The network of the article the project started from: down to one pixel, and up again.

Its text says 'valid' padding; its table of shapes and its 290,650,308 parameters can only be 'same'. There
are no skips, so everything must pass through a single pixel. The table ends, after a softmax, with an
upsampling and a batch normalization, so what comes out is no probability: `losses.to_logits` says how it is
trained all the same. `article_logits` puts that right: the 27-channel layer becomes an ordinary one, and a
last transposed convolution takes it to full resolution and gives logits, with nothing after them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import keras

from training.config import ArticleConfig
from training.models.blocks import glorot_uniform

INPUT_AND_OUTPUT_LAYERS = ("down1", "softmax", "logits")  # the last is called after the head that was chosen
DOWN = (3, 9, 27, 81, 243, 729, 2187)
MIDDLE = 2187
UP = (2187, 2187, 729, 243, 81)
LAST = 27


def build(config: ArticleConfig, colors: int, seed: int) -> keras.Model:
    """Builds it for drawings, float [B, H, W, C] with H and W multiples of 128, and `colors` outputs a pixel.

    With width 1 and 27 colours it has the article's 290,650,308 parameters.
    """
    seeds = itertools.count(seed)

    def width(channels: int) -> int:
        # The narrowest of the article's layers is the floor: below 3 channels nothing passes.
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
