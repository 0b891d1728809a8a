"""The inputs of a network: a drawing, with hints in further channels, and a reference for some networks."""

from __future__ import annotations

from typing import Any

import keras


def takes_hints(net: keras.Model) -> bool:
    """Whether the drawings have the channels of hints."""
    return net.inputs[0].shape[-1] > 1


def takes_reference(net: keras.Model) -> bool:
    """Whether the network has a second input, for a reference."""
    return len(net.inputs) > 1


def call(net: keras.Model, drawings: Any, reference: Any = None, *, training: bool = False) -> Any:
    """Calls a network.

    Args:
      net: a network with one or two inputs.
      drawings: float [B, H, W, C].
      reference: float [B, K], how much of each colour is wanted: fractions that add up to 1, or zeros for no
        reference. None means none. It must be None if the network takes no reference.
      training: whether batch normalization uses the statistics of the batch.

    Returns:
      The outputs, float [B, H, W, K].
    """
    if not takes_reference(net):
        assert reference is None, "the network takes no reference"
        return net(drawings, training=training)
    # Keras takes arrays or tensors, but not one of each.
    drawings = keras.ops.convert_to_tensor(drawings)
    if reference is None:
        reference = keras.ops.zeros((keras.ops.shape(drawings)[0], net.inputs[1].shape[-1]))
    return net([drawings, keras.ops.convert_to_tensor(reference)], training=training)
