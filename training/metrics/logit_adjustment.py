"""Logit adjustment brings the rare colours of the training data forward, without training again.

A network that minimizes the cross-entropy learns log p(colour | drawing), and so prefers the colours that are
common in its data. Subtracting τ log p(colour) from its logits takes this preference away: with τ = 1 as if
all colours were equally common. This is the post-hoc variant of Menon et al. 2021, "Long-tail learning via
logit adjustment".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MAX_TAU = 3.0  # beyond it colours that hardly occur win everywhere
# Rarer colours count as if they had this frequency; that of a colour that never occurs has no logarithm.
MIN_FREQUENCY = 1e-4


def color_frequencies(label_histogram: Sequence[int]) -> list[float] | None:
    """Returns the fraction of the pixels that each of K colours has, or None without any pixels."""
    total = sum(label_histogram)
    return [count / total for count in label_histogram] if total else None


def logit_offset(frequencies: Sequence[float], tau: float) -> np.ndarray:
    """Returns τ log p, float32 [K], which is to be subtracted from logits [..., K].

    Args:
      frequencies: p, [K], from `color_frequencies`.
      tau: τ, from 0 to `MAX_TAU`; 0 changes nothing.
    """
    return (tau * np.log(np.maximum(frequencies, MIN_FREQUENCY))).astype(np.float32)
