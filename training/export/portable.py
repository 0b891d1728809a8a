"""Copies of a trained network that other runtimes can take, with the same weights and the same outputs.

Keras says some things in ways that only TensorFlow runs well. The layers below say them with operations that
every runtime has; what comes out is the same up to rounding, which is checked at every export (see parity).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from training.metrics.losses import EPSILON

Clone = Callable[[Any], Any]


def inference_copy(net: keras.Model, gives_logits: bool) -> keras.Model:
    """The network in float32 throughout, whatever it was trained in, from "drawing" to logits.

    Args:
      net: from drawings, float [B, H, W, C], to logits, or if not `gives_logits` to the article's scores,
        which then become what they were trained as: see `losses.to_logits`.

    Returns:
      A functional model of plain layers: saved as .keras it opens without our code.
    """
    copy = _cloned(net, _in_float32)
    outputs = copy.output
    if not gives_logits:
        outputs = keras.ops.log(keras.ops.clip(outputs, EPSILON, 1 - EPSILON))
    return keras.Model(copy.input, outputs, name=net.name)


def portable_copy(net: keras.Model) -> keras.Model:
    """An `inference_copy` with layers of this file in place of those that other runtimes take badly."""
    return _cloned(net, _portable)


class Enlarge(keras.layers.Layer):
    """UpSampling2D, nearest: a resize.

    Keras repeats rows and columns instead, after which LiteRT no longer knows the number of channels when
    the size is open.
    """

    def __init__(self, factors: tuple[int, int], name: str) -> None:
        super().__init__(name=name)
        self.factors = factors

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Float [B, H, W, C] to [B, fH, fW, C]."""
        return tf.raw_ops.ResizeNearestNeighbor(images=x, size=tf.shape(x)[1:3] * self.factors)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The same, of a shape whose sides may be open."""
        sides = [side and side * factor for side, factor in zip(shape[1:3], self.factors, strict=True)]
        return (shape[0], *sides, shape[3])


class NormalizeGroups(keras.layers.Layer):
    """GroupNormalization: means over the picture for each channel, then over each group by a small matrix.

    Keras gives the tensor a fifth axis instead, which in ONNX costs a dozen transposed copies.
    """

    def __init__(self, groups: int, epsilon: float, name: str) -> None:
        super().__init__(name=name)
        # With an axis, since the ONNX converter cannot move a transposition past a bare number.
        self.groups, self.epsilon = groups, np.full(1, epsilon, np.float32)

    def build(self, shape: tuple[int | None, ...]) -> None:
        """The weights of Keras's layer, in its order."""
        channels = shape[-1]
        assert channels is not None
        self.gamma = self.add_weight((channels,), "ones", name="gamma")
        self.beta = self.add_weight((channels,), "zeros", name="beta")
        # [C, C]: for each channel the mean of its group's.
        size = channels // self.groups
        within = np.kron(np.eye(self.groups), np.full((size, size), 1 / size))
        self.within = within[None, None].astype(np.float32)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Float [B, H, W, C] to the same."""
        x = x - self._group_means(x)
        return x * (self.gamma * tf.math.rsqrt(self._group_means(x * x) + self.epsilon)) + self.beta

    def _group_means(self, x: tf.Tensor) -> tf.Tensor:
        # As a convolution, so that the axes stay where they are.
        return tf.nn.conv2d(tf.reduce_mean(x, axis=(1, 2), keepdims=True), self.within, 1, "VALID")


class Attend(keras.layers.Layer):
    """MultiHeadAttention over both axes of a picture: products of matrices.

    Keras's einsum over six axes takes the ONNX converter a minute for each layer.
    """

    def __init__(self, heads: int, width: int, name: str) -> None:
        super().__init__(name=name)
        self.heads, self.width = heads, width

    def build(self, query_shape: tuple[int | None, ...], value_shape: tuple[int | None, ...]) -> None:
        """The weights of Keras's layer, in its order: query, key, value, output."""
        channels, inner = query_shape[-1], self.heads * self.width
        sizes = {
            "query": (channels, inner),
            "key": (value_shape[-1], inner),
            "value": (value_shape[-1], inner),
            "output": (inner, channels),
        }
        self.parts = [
            (self.add_weight(size, name=name), self.add_weight(size[1:], name=f"{name}_bias"))
            for name, size in sizes.items()
        ]

    def call(self, query: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
        """Float [B, H, W, C] twice, to the same: every pixel looks at every other."""
        inputs = (query, value, value)
        queries, keys, values = (
            self._heads(x, *part) for x, part in zip(inputs, self.parts[:3], strict=True)
        )
        shares = tf.nn.softmax(tf.matmul(queries * self.width**-0.5, keys, transpose_b=True))
        found = tf.transpose(tf.matmul(shares, values), [0, 2, 1, 3])
        kernel, bias = self.parts[3]
        joined = tf.reshape(found, [tf.shape(query)[0], -1, self.heads * self.width])
        return tf.reshape(joined @ kernel + bias, tf.shape(query))

    def _heads(self, x: tf.Tensor, kernel: keras.Variable, bias: keras.Variable) -> tf.Tensor:
        """Float [B, H, W, C] to [B, heads, H * W, width]."""
        pixels = tf.reshape(x, [tf.shape(x)[0], -1, x.shape[-1]]) @ kernel + bias
        shape = [tf.shape(x)[0], -1, self.heads, self.width]
        return tf.transpose(tf.reshape(pixels, shape), [0, 2, 1, 3])


def _cloned(net: keras.Model, clone: Clone) -> keras.Model:
    drawing = keras.Input(net.input_shape[1:], dtype="float32", name="drawing")
    copy = keras.models.clone_model(net, drawing, clone_function=clone)
    for layer in net.layers:
        if layer.weights:
            copied = copy.get_layer(layer.name)
            pairs = zip(layer.get_weights(), copied.weights, strict=True)
            # Ours hold the same numbers with fewer axes.
            copied.set_weights([np.reshape(value, weight.shape) for value, weight in pairs])
    return copy


def _in_float32(operation: Any) -> Any:
    config = operation.get_config()
    if isinstance(operation, keras.Layer):  # and no bare operation, which has no type of its own
        config["dtype"] = "float32"
    return operation.__class__.from_config(config)


def _portable(layer: Any) -> Any:
    layers = keras.layers
    if isinstance(layer, layers.UpSampling2D) and layer.interpolation == "nearest":
        return Enlarge(layer.size, layer.name)
    if isinstance(layer, layers.Dense) and len(layer.input.shape) == 4:
        # A product of pixels and a matrix, without the flat copies that Dense makes of a picture.
        return layers.Conv2D(
            layer.units, 1, activation=layer.activation, use_bias=layer.use_bias, name=layer.name
        )
    if isinstance(layer, layers.GroupNormalization):
        return NormalizeGroups(layer.groups, layer.epsilon, layer.name)
    if isinstance(layer, layers.MultiHeadAttention):
        return Attend(layer.num_heads, layer.key_dim, layer.name)
    return layer.__class__.from_config(layer.get_config())
