"""Copies a trained network with layers that other runtimes support.

Some layers of Keras use operations that only TensorFlow runs well. The layers below compute the same with
operations that every runtime has. Each export checks that the outputs are equal up to rounding (see parity).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from training.export.metadata import INPUTS
from training.metrics.losses import EPSILON

Clone = Callable[[Any], Any]


def inference_copy(net: keras.Model, gives_logits: bool) -> keras.Model:
    """Copies a network to float32, with inputs called as in `INPUTS` and logits as output.

    Args:
      net: maps drawings, float [B, H, W, C], and references, float [B, K], if it takes them, to logits, or to
        the article's scores if not `gives_logits`.
      gives_logits: False converts the scores to logits (see `losses.to_logits`).

    Returns:
      A functional model of Keras's own layers: saved as .keras, it opens without linewash.
    """
    copy = _clone(net, _to_float32)
    outputs = copy.output
    if not gives_logits:
        outputs = keras.ops.log(keras.ops.clip(outputs, EPSILON, 1 - EPSILON))
    return keras.Model(copy.input, outputs, name=net.name)


def portable_copy(net: keras.Model) -> keras.Model:
    """Copies an `inference_copy`, with the layers of this module where other runtimes need them."""
    return _clone(net, _to_portable)


class NearestUpSampling(keras.layers.Layer):
    """Nearest UpSampling2D as one resize operation.

    Keras repeats rows and columns, after which LiteRT loses the number of channels if the size is dynamic.
    """

    def __init__(self, factors: tuple[int, int], name: str) -> None:
        super().__init__(name=name)
        self.factors = factors

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Maps float [B, H, W, C] to [B, fH, fW, C]."""
        return tf.raw_ops.ResizeNearestNeighbor(images=x, size=tf.shape(x)[1:3] * self.factors)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Returns the shape of the output; the sides may be None."""
        sides = [side and side * factor for side, factor in zip(shape[1:3], self.factors, strict=True)]
        return (shape[0], *sides, shape[3])


class PortableLog1p(keras.layers.Layer):
    """log(1 + x) as two operations: the ONNX converter does not know the one that Keras uses."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Maps float of any shape to the same shape."""
        return tf.math.log(x + 1.0)


class PortableGroupNormalization(keras.layers.Layer):
    """GroupNormalization by means over the image per channel, then over each group with a small matrix.

    Keras reshapes to five axes, which costs a dozen transposed copies in ONNX.
    """

    def __init__(self, groups: int, epsilon: float, name: str) -> None:
        super().__init__(name=name)
        # An array, because the ONNX converter cannot move a transposition past a scalar.
        self.groups, self.epsilon = groups, np.full(1, epsilon, np.float32)

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Creates the weights in the order of the Keras layer."""
        channels = shape[-1]
        assert channels is not None
        self.gamma = self.add_weight((channels,), "ones", name="gamma")
        self.beta = self.add_weight((channels,), "zeros", name="beta")
        # [C, C]: averages the channels of each group.
        size = channels // self.groups
        matrix = np.kron(np.eye(self.groups), np.full((size, size), 1 / size))
        self.group_mean = matrix[None, None].astype(np.float32)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Maps float [B, H, W, C] to the same shape."""
        x = x - self._group_means(x)
        return x * (self.gamma * tf.math.rsqrt(self._group_means(x * x) + self.epsilon)) + self.beta

    def _group_means(self, x: tf.Tensor) -> tf.Tensor:
        # A convolution, because it leaves the order of the axes as it is.
        return tf.nn.conv2d(tf.reduce_mean(x, axis=(1, 2), keepdims=True), self.group_mean, 1, "VALID")


class PortableAttention(keras.layers.Layer):
    """MultiHeadAttention over both axes of an image, with matrix products.

    The ONNX converter takes a minute per layer for the einsum over six axes that Keras uses.
    """

    def __init__(self, heads: int, width: int, name: str) -> None:
        super().__init__(name=name)
        self.heads, self.width = heads, width

    def build(self, query_shape: tuple[int | None, ...], value_shape: tuple[int | None, ...]) -> None:
        """Creates the weights in the order of the Keras layer: query, key, value, output."""
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
        """Lets every pixel attend to every other: float [B, H, W, C] twice, to the same shape."""
        inputs = (query, value, value)
        queries, keys, values = (
            self._heads(x, *part) for x, part in zip(inputs, self.parts[:3], strict=True)
        )
        weights = tf.nn.softmax(tf.matmul(queries * self.width**-0.5, keys, transpose_b=True))
        attended = tf.transpose(tf.matmul(weights, values), [0, 2, 1, 3])
        kernel, bias = self.parts[3]
        joined = tf.reshape(attended, [tf.shape(query)[0], -1, self.heads * self.width])
        return tf.reshape(joined @ kernel + bias, tf.shape(query))

    def _heads(self, x: tf.Tensor, kernel: keras.Variable, bias: keras.Variable) -> tf.Tensor:
        """Maps float [B, H, W, C] to [B, heads, H * W, width]."""
        pixels = tf.reshape(x, [tf.shape(x)[0], -1, x.shape[-1]]) @ kernel + bias
        shape = [tf.shape(x)[0], -1, self.heads, self.width]
        return tf.transpose(tf.reshape(pixels, shape), [0, 2, 1, 3])


def _clone(net: keras.Model, clone: Clone) -> keras.Model:
    inputs = [
        keras.Input(tensor.shape[1:], dtype="float32", name=name)
        for name, tensor in zip(INPUTS, net.inputs, strict=False)
    ]
    # A list of one would make a network that takes lists.
    copy = keras.models.clone_model(net, inputs if len(inputs) > 1 else inputs[0], clone_function=clone)
    for layer in net.layers:
        if layer.weights:
            copied = copy.get_layer(layer.name)
            pairs = zip(layer.get_weights(), copied.weights, strict=True)
            # The layers of this module hold the same numbers with fewer axes.
            copied.set_weights([np.reshape(value, weight.shape) for value, weight in pairs])
    return copy


def _to_float32(operation: Any) -> Any:
    config = operation.get_config()
    if isinstance(operation, keras.Layer):  # other operations have no dtype
        config["dtype"] = "float32"
    return operation.__class__.from_config(config)


def _to_portable(layer: Any) -> Any:
    layers = keras.layers
    if isinstance(layer, layers.UpSampling2D) and layer.interpolation == "nearest":
        return NearestUpSampling(layer.size, layer.name)
    if isinstance(layer, layers.Dense) and len(layer.input.shape) == 4:
        # A 1x1 convolution avoids the flattened copies that Dense makes of an image.
        return layers.Conv2D(
            layer.units, 1, activation=layer.activation, use_bias=layer.use_bias, name=layer.name
        )
    if isinstance(layer, layers.GroupNormalization):
        return PortableGroupNormalization(layer.groups, layer.epsilon, layer.name)
    if isinstance(layer, layers.MultiHeadAttention):
        return PortableAttention(layer.num_heads, layer.key_dim, layer.name)
    if type(layer).__name__ == "Log1p":  # an operation of a reference; Keras does not export its class
        return PortableLog1p(name=layer.name)
    return layer.__class__.from_config(layer.get_config())
