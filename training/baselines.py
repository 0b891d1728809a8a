"""What one reaches without looking at the drawing: read off the manifest's histogram, no second pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Baselines:
    """Two trivial results to beat, and the palette index of the commonest colour.

    `accuracy`: the share of pixels right when every pixel gets the commonest colour.
    `loss`: the entropy of the labels in nats: the lowest cross-entropy a constant prediction can have.
    """

    accuracy: float
    loss: float
    commonest: int

    @classmethod
    def of(cls, histogram: list[int]) -> Baselines:
        """From a label histogram [K] with at least one pixel.

        The entropy is H = -Σ p ln p over the colours that occur (Shannon 1948).
        """
        counts = np.asarray(histogram, np.float64)
        shares = counts / counts.sum()
        seen = shares[shares > 0]
        return cls(float(shares.max()), float(-(seen * np.log(seen)).sum()), int(shares.argmax()))
