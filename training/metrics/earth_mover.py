"""The earth mover's distance between the colours of two pictures."""

from __future__ import annotations

import numpy as np
from scipy.stats import wasserstein_distance_nd

from training.metrics.color_spaces import to_oklab

NEGLIGIBLE = 1e-4  # fraction of a picture; smaller ones only make the computation slower


def earth_movers_distance(first: np.ndarray, second: np.ndarray, rgb: np.ndarray) -> float:
    """Returns how far colours must be moved, on average, to turn one histogram into the other.

    Source: Rubner, Tomasi, Guibas, "The earth mover's distance as a metric for image retrieval" (2000).

    Args:
      first, second: fractions of the pixels, float [K], each with a sum of 1.
      rgb: the palette, uint8 [K, 3].

    Returns:
      The distance in OKLab: 0 for equal histograms, 1 from a black picture to a white one.
    """
    lab = to_oklab(rgb)
    used = [fractions > NEGLIGIBLE for fractions in (first, second)]
    return float(wasserstein_distance_nd(lab[used[0]], lab[used[1]], first[used[0]], second[used[1]]))
