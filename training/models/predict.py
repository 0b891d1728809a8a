"""Predicts label maps for drawings of any size."""

from __future__ import annotations

import keras
import numpy as np

from training.models.inputs import call


def predict_labels(
    net: keras.Model, edges: np.ndarray, stride: int, reference: np.ndarray | None = None
) -> np.ndarray:
    """Returns the most probable label of each pixel.

    Args:
      net: a network that maps [B, H, W, C] to logits, or to the scores of the article's network; the channels
        of hints stay empty.
      edges: uint8 [B, H, W] in {0, 1}, any H and W.
      stride: the drawings are padded with empty paper, at the bottom and on the right, to multiples of this
        many pixels, and the labels are cropped to the original size.
      reference: float [B, K] for a network that takes a reference; None for none.

    Returns:
      labels, uint16 [B, H, W].
    """
    height, width = edges.shape[1:]
    padding = ((0, 0), (0, -height % stride), (0, -width % stride), (0, net.inputs[0].shape[-1] - 1))
    padded = np.pad(edges[..., None], padding).astype(np.float32)
    outputs = keras.ops.convert_to_numpy(call(net, padded, reference))
    return outputs.argmax(-1).astype(np.uint16)[:, :height, :width]
