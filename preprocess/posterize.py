"""RGB pixels in, palette labels out: what the model learns to say."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from tfrecords_schema import Palette


def to_labels(rgb: np.ndarray, num_values: int) -> np.ndarray:
    """The nearest colour (Euclidean in RGB) of the grid palette for each pixel; ties take the lower label.

    The nearest grid colour is nearest in each channel alone, so three 256-entry tables, already multiplied
    by n², n and 1, replace num_values³ distances a pixel.

    Args:
      rgb: uint8 [H, W, 3].
      num_values: grid values a channel, 2..16.

    Returns:
      labels [H, W] of the palette's `label_dtype`; `Palette.to_rgb` is the way back.
    """
    red, green, blue = cv2.split(rgb)
    table_r, table_g, table_b = grid_tables(num_values)
    return table_r[red] + table_g[green] + table_b[blue]


def label_histogram(labels: np.ndarray, colors: int) -> np.ndarray:
    """How often each of `colors` labels occurs in `labels`, uint8 or uint16 of any shape: int64 [colors].

    np.bincount would first turn all labels into 64-bit integers.
    """
    return cv2.calcHist([labels], [0], None, [colors], [0, colors]).ravel().astype(np.int64)


@lru_cache
def grid_tables(num_values: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For red, green and blue: what each of the 256 values adds to the label."""
    palette = Palette.grid(num_values)
    values = palette.rgb[:num_values, 2].astype(np.int64)
    nearest = np.abs(np.arange(256)[:, None] - values).argmin(axis=1)
    r, g, b = (nearest * scale for scale in (num_values**2, num_values, 1))
    dtype = palette.label_dtype
    return r.astype(dtype), g.astype(dtype), b.astype(dtype)
