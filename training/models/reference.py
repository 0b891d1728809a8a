"""Adds a reference to a network: a second input that says how much of each colour is wanted.

The reference enters as vectors that are added to all pixels of some feature maps, and to the logits. To the
logits its logarithm is added too, since the best picture that ignores the drawing has the logits log p. All
layers here are without bias and the last ones begin with zeros. So a new network computes what it would
without a reference, and so does a trained one if its reference is all zeros.
"""

from __future__ import annotations

import itertools
import math

import keras
from keras import layers, ops

from training.models.blocks import he_normal

INPUT_NAME = "reference"
WIDTH = 128  # channels of the hidden layer
NEGLIGIBLE = 0.001  # fraction of a picture; the logarithm begins there, so that it is 0 for no pixels
SEED_OFFSET = 1_000  # above the number of layers of any network here


class Reference:
    """The input of a network for references, and what is added to its feature maps.

    Attributes:
      input: float [B, K], the wanted fraction of each colour, which add up to 1; or zeros for no reference.
    """

    def __init__(self, colors: int, seed: int) -> None:
        # Seeds of its own, so that the other layers begin with the same weights as without a reference.
        seeds = itertools.count(seed + SEED_OFFSET)
        self.input = keras.Input((colors,), name=INPUT_NAME)
        # The square root, because a tenth of a picture says more about it than a tenth of its weight.
        self._hidden = layers.Dense(
            WIDTH, "relu", use_bias=False, kernel_initializer=he_normal(seeds), name="reference_hidden"
        )(ops.sqrt(self.input))

    def add_to(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """Adds a function of the reference to every pixel of `x`, [B, H, W, C]."""
        return self._add(x, self._project(self._hidden, x.shape[-1], name), name)

    def add_to_logits(self, logits: keras.KerasTensor) -> keras.KerasTensor:
        """Adds a function of the reference and of its logarithm to the logits, [B, H, W, K]."""
        log = ops.log1p(self.input / NEGLIGIBLE) / math.log(10)
        offset = layers.Add(name="reference_sum")(
            [
                self._project(self._hidden, logits.shape[-1], "logits"),
                self._project(log, logits.shape[-1], "prior"),
            ]
        )
        return self._add(logits, offset, "logits")

    def _project(self, x: keras.KerasTensor, channels: int, name: str) -> keras.KerasTensor:
        layer = layers.Dense(channels, use_bias=False, kernel_initializer="zeros", name=f"reference_{name}")
        return layer(x)

    def _add(self, x: keras.KerasTensor, offset: keras.KerasTensor, name: str) -> keras.KerasTensor:
        pixel = layers.Reshape((1, 1, x.shape[-1]), name=f"reference_{name}_pixel")(offset)
        return layers.Add(name=f"{name}_with_reference")([x, pixel])


def add_reference(reference: Reference | None, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Returns `reference.add_to(x, name)`, or `x` for a network without a reference."""
    return x if reference is None else reference.add_to(x, name)


def network(
    edges: keras.KerasTensor, reference: Reference | None, logits: keras.KerasTensor, name: str
) -> keras.Model:
    """Makes the network that gives the logits for a drawing, and for a reference if there is one."""
    if reference is None:
        return keras.Model(edges, logits, name=name)
    return keras.Model([edges, reference.input], reference.add_to_logits(logits), name=name)
