"""CIEDE2000: how different two colours look, in units of about one just noticeable difference."""

from __future__ import annotations

from typing import Any

import numpy as np

from training.metrics.color_spaces import to_cielab

# Between opposite hues the formula jumps; rounding must not decide on which side of π they are.
OPPOSITE = np.pi + 1e-9


def difference_table(rgb: np.ndarray) -> np.ndarray:
    """All differences within a palette, uint8 [K, 3]: float64 [K, K], symmetric, 0 on the diagonal."""
    lab = to_cielab(rgb)
    return ciede2000(lab[:, None], lab[None])


def ciede2000(one: Any, other: Any, xp: Any = np) -> Any:
    """The colour difference ΔE00 with kL = kC = kH = 1; at least 0, about 100 from black to white.

    Sharma, Wu, Dalal, "The CIEDE2000 color-difference formula: implementation notes, supplementary test
    data, and mathematical observations" (2005); the numbers below are those of its equations.

    Args:
      one, other: CIELAB, float64 [..., 3], shapes that broadcast.
      xp: what computes: numpy, or tensorflow.experimental.numpy inside a compiled step.

    Returns:
      float64 [...].
    """
    l1, a1, b1 = one[..., 0], one[..., 1], one[..., 2]
    l2, a2, b2 = other[..., 0], other[..., 1], other[..., 2]
    g = 1 + (1 - _chroma_share((xp.hypot(a1, b1) + xp.hypot(a2, b2)) / 2, xp)) / 2  # 2-5
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
    rt = -2 * _chroma_share(c, xp) * xp.sin(rotation)  # 17, 21
    dl, dc, dh = dl / sl, dc / sc, dh / sh
    # Rounding may leave a little less than nothing between equal colours.
    return xp.sqrt(xp.maximum(dl**2 + dc**2 + dh**2 + rt * dc * dh, xp.zeros_like(dl)))  # 22


def _chroma_share(chroma: Any, xp: Any) -> Any:
    return xp.sqrt(chroma**7 / (chroma**7 + 25.0**7))


def _hue(a: Any, b: Any, xp: Any) -> Any:
    """From 0 to 2π; 0 where there is none."""
    angle = xp.arctan2(b, a)
    return xp.where(angle < 0, angle + 2 * np.pi, angle)
