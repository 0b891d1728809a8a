"""The line styles of a dataset: which one networks are judged by, and how often each is shown in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from training.errors import UsageError

DRAWN = "drawn"  # the lines of a person's own drawing


def judged_style(styles: Sequence[str]) -> str:
    """Returns the style that networks are judged by: `drawn`, which is what people bring, or the first."""
    return DRAWN if DRAWN in styles else styles[0]


def style_probabilities(weights: Mapping[str, float] | None, styles: Sequence[str]) -> np.ndarray:
    """Returns the probability of each of the dataset's styles: float32 [L].

    Args:
      weights: weights of styles by name, at least 0; styles without a weight are not shown. None or {}: all
        styles have the same probability.
      styles: the names of the dataset's styles.

    Raises:
      UsageError: the dataset has no such style, or no style has a weight above 0.
    """
    if not weights:
        return np.full(len(styles), 1 / len(styles), np.float32)
    names = ", ".join(styles)
    for name in weights:
        if name not in styles:
            raise UsageError(f"augment.lines: the dataset has no line style {name}, only {names}")
    values = np.array([weights.get(style, 0) for style in styles], np.float64)
    if not values.sum() > 0:
        raise UsageError(f"augment.lines must have a weight above 0 for one of {names}")
    return (values / values.sum()).astype(np.float32)
