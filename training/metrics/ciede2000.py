"""The colour difference CIEDE2000; 1 is about one just noticeable difference."""

from __future__ import annotations

from typing import Any

import numpy as np

from training.metrics.color_spaces import to_cielab

# The formula is discontinuous at opposite hues, so rounding must not move them to the other side of π.
OPPOSITE = np.pi + 1e-9


def difference_table(rgb: np.ndarray) -> np.ndarray:
    """Returns the difference of each pair of colours, uint8 [K, 3]: float64 [K, K], symmetric."""
    lab = to_cielab(rgb)
    return ciede2000(lab[:, None], lab[None])


def ciede2000(first: Any, second: Any, xp: Any = np) -> Any:
    """Returns the colour difference ΔE00 with kL = kC = kH = 1.

    Source: Sharma, Wu, Dalal, "The CIEDE2000 color-difference formula: implementation notes, supplementary
    test data, and mathematical observations" (2005). The numbers in the comments are those of its equations.

    Args:
      first, second: CIELAB colours, float64 [..., 3], of shapes that broadcast.
      xp: the array module: numpy, or tensorflow.experimental.numpy inside a compiled step.

    Returns:
      float64 [...], at least 0, and 100 from black to white.
    """
    l1, a1, b1 = first[..., 0], first[..., 1], first[..., 2]
    l2, a2, b2 = second[..., 0], second[..., 1], second[..., 2]
    g = 1 + (1 - _chroma_weight((xp.hypot(a1, b1) + xp.hypot(a2, b2)) / 2, xp)) / 2  # 2-5
    c1, c2 = xp.hypot(g * a1, b1), xp.hypot(g * a2, b2)  # 6
    h1, h2 = _hue(g * a1, b1, xp), _hue(g * a2, b2, xp)  # 7

    grey = c1 * c2 == 0
    turn = h2 - h1
    turn = xp.where(turn > OPPOSITE, turn - 2 * np.pi, xp.where(turn < -OPPOSITE, turn + 2 * np.pi, turn))
    turn = xp.where(grey, xp.zeros_like(turn), turn)  # 10
    dl, dc = l2 - l1, c2 - c1  # 8, 9
    dh = 2 * xp.sqrt(c1 * c2) * xp.sin(turn / 2)  # 11

    light, c = (l1 + l2) / 2, (c1 + c2) / 2  # 12, 13
    across = xp.where(h1 + h2 < 2 * np.pi, (h1 + h2) / 2 + np.pi, (h1 + h2) / 2 - np.pi)
    h = xp.where(xp.abs(h1 - h2) > OPPOSITE, across, (h1 + h2) / 2)
    h = xp.where(grey, h1 + h2, h)  # 14

    t = (
        1
        - 0.17 * xp.cos(h - np.radians(30))
        + 0.24 * xp.cos(2 * h)
        + 0.32 * xp.cos(3 * h + np.radians(6))
        - 0.20 * xp.cos(4 * h - np.radians(63))
    )  # 15
    rotation = np.radians(60) * xp.exp(-(((h - np.radians(275)) / np.radians(25)) ** 2))  # 16 (2 Δθ)
    sl = 1 + 0.015 * (light - 50) ** 2 / xp.sqrt(20 + (light - 50) ** 2)  # 18
    sc, sh = 1 + 0.045 * c, 1 + 0.015 * c * t  # 19, 20
    rt = -2 * _chroma_weight(c, xp) * xp.sin(rotation)  # 17, 21
    dl, dc, dh = dl / sl, dc / sc, dh / sh
    # Rounding may give a negative number for equal colours.
    return xp.sqrt(xp.maximum(dl**2 + dc**2 + dh**2 + rt * dc * dh, xp.zeros_like(dl)))  # 22


def _chroma_weight(chroma: Any, xp: Any) -> Any:
    return xp.sqrt(chroma**7 / (chroma**7 + 25.0**7))


def _hue(a: Any, b: Any, xp: Any) -> Any:
    """Returns the hue angle from 0 to 2π; 0 for grey."""
    angle = xp.arctan2(b, a)
    return xp.where(angle < 0, angle + 2 * np.pi, angle)
