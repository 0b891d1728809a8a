"""Colours drawings of any size with a network: pads them to its stride, and crops back."""

from __future__ import annotations

import keras
import numpy as np


def predict_labels(net: keras.Model, edges: np.ndarray, stride: int) -> np.ndarray:
    """The likeliest colour of each pixel.

    Args:
      net: from edges [B, H, W, 1], or more channels for hints, which stay empty, to logits (or the article's
        scores: the largest is the likeliest there too). edges: uint8 [B, H, W] in {0, 1}, any H and W.
        stride: H and W are padded with empty paper, below and to the right, to multiples of this.

    Returns:
      labels, uint16 [B, H, W].
    """
    height, width = edges.shape[1:]
    padding = ((0, 0), (0, -height % stride), (0, -width % stride), (0, net.input_shape[-1] - 1))
    padded = np.pad(edges[..., None], padding).astype(np.float32)
    outputs = keras.ops.convert_to_numpy(net(padded, training=False))
    return outputs.argmax(-1).astype(np.uint16)[:, :height, :width]
