"""Adds a reference to a network: a second input that says how much of each colour is wanted.

The reference enters as vectors that are added to all pixels of some feature maps, and to the logits. All
layers here are without bias and the last ones begin with zeros. So a new network computes what it would
without a reference, and so does a trained one if its reference is all zeros.
"""

from __future__ import annotations

import itertools

import keras
from keras import layers, ops

from training.models.blocks import he_normal

INPUT_NAME = "reference"
WIDTH = 128  # channels of the hidden layer
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
        channels = x.shape[-1]
        offset = layers.Dense(channels, use_bias=False, kernel_initializer="zeros", name=f"reference_{name}")(
            self._hidden
        )
        offset = layers.Reshape((1, 1, channels), name=f"reference_{name}_pixel")(offset)
        return layers.Add(name=f"{name}_with_reference")([x, offset])


def add_reference(reference: Reference | None, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Returns `reference.add_to(x, name)`, or `x` for a network without a reference."""
    return x if reference is None else reference.add_to(x, name)


def network(
    edges: keras.KerasTensor, reference: Reference | None, outputs: keras.KerasTensor, name: str
) -> keras.Model:
    """Makes the network of its inputs: the drawing, and the reference if there is one."""
    inputs = edges if reference is None else [edges, reference.input]
    return keras.Model(inputs, outputs, name=name)
