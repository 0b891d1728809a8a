"""Copies the weights of a trained network into a new one, which may have other colours or further inputs."""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np

# The axes of these layers' weights that belong to colours, by the number of axes of a weight. Those of
# convolutions are in `_recolor`.
COLOR_AXES: dict[str, dict[int, tuple[int, ...]]] = {
    "logits": {1: (0,), 2: (1,)},
    "softmax": {1: (0,), 2: (1,)},
    "scores": {1: (0,)},  # the batch normalization of the article's outputs
    "reference_hidden": {2: (0,)},
    "reference_logits": {2: (1,)},
    "reference_prior": {2: (0, 1)},
}
REFERENCE = "reference_"  # the layers that only networks with a reference have
INPUT_CHANNELS = {1, 5}  # of the drawing, without and with hints


class TransferError(ValueError):
    """The networks differ in more than colours and inputs; the message names the first difference."""


class Transfer(NamedTuple):
    """What was copied: numbers of layers.

    Attributes:
      copied: layers with the weights of the source, recoloured and widened ones included.
      new: layers that the source does not have.
      dropped: layers that only the source has.
      recolored: whether the colours differ.
      hints: 1 if inputs for hints were added, -1 if they were dropped, else 0.
    """

    copied: int
    new: int
    dropped: int
    recolored: bool
    hints: int

    def __str__(self) -> str:
        parts = [f"{self.copied} layers copied"]
        if self.recolored:
            parts.append("colours from the nearest ones")
        if self.hints:
            parts.append("hints added" if self.hints > 0 else "hints dropped")
        if self.new or self.dropped:
            parts.append("reference added" if self.new else "reference dropped")
        return ", ".join(parts)


def transfer_weights(source: keras.Model, target: keras.Model, nearest: np.ndarray) -> Transfer:
    """Sets the weights of `target` to those of `source`.

    A colour of `target` gets the weights of its nearest colour. The weights of hints that `source` does not
    take are zeros, and the layers of a reference remain as they are. So as long as a new network is given no
    hints and no reference, it computes what `source` does.

    Args:
      source: a trained network.
      target: a new network.
      nearest: the index of the colour of `source` for each colour of `target`, integers [K].

    Raises:
      TransferError: a layer is missing, or has other shapes. `target` is then unchanged.
    """
    sources = {layer.name: layer for layer in source.layers if layer.weights}
    targets = {layer.name: layer for layer in target.layers if layer.weights}
    for name in [*(sources.keys() ^ targets.keys())]:
        if not name.startswith(REFERENCE):
            owner = "the new network" if name in targets else "the trained network"
            raise TransferError(f"only {owner} has a layer {name}")
    common = [name for name in targets if name in sources]
    weights = {name: _convert_layer(sources[name], targets[name], nearest) for name in common}
    for name in common:
        targets[name].set_weights(weights[name])
    channels = target.inputs[0].shape[-1] - source.inputs[0].shape[-1]
    return Transfer(
        copied=len(common),
        new=len(targets) - len(common),
        dropped=len(sources) - len(common),
        recolored=not np.array_equal(nearest, np.arange(source.output_shape[-1])),
        hints=int(np.sign(channels)),
    )


def _convert_layer(
    source: keras.layers.Layer, target: keras.layers.Layer, nearest: np.ndarray
) -> list[np.ndarray]:
    name = target.name
    if len(source.weights) != len(target.weights):
        raise TransferError(f"the layers {name} have different numbers of weights")
    converted = []
    for old, new in zip(source.get_weights(), target.weights, strict=True):
        value = _resize_input(_recolor(target, old, nearest), tuple(new.shape))
        if value.shape != tuple(new.shape):
            raise TransferError(
                f"the weights {name}/{new.name} are {_shape(old.shape)} in the trained network and "
                f"{_shape(new.shape)} in the new one"
            )
        converted.append(value)
    return converted


def _recolor(layer: keras.layers.Layer, value: np.ndarray, nearest: np.ndarray) -> np.ndarray:
    axes = COLOR_AXES.get(layer.name, {}).get(value.ndim, ())
    if value.ndim == 4 and layer.name in COLOR_AXES:
        axes = (2,) if isinstance(layer, keras.layers.Conv2DTranspose) else (3,)
    for axis in axes:
        value = np.take(value, nearest, axis)
    return value


def _resize_input(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Adds zeros for the channels of hints to a kernel of a first layer, or removes those channels."""
    is_first = len(shape) == value.ndim == 4 and {value.shape[2], shape[2]} == INPUT_CHANNELS
    if not is_first:
        return value
    added = max(0, shape[2] - value.shape[2])
    return np.pad(value, [(0, 0), (0, 0), (0, added), (0, 0)])[:, :, : shape[2]]


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
