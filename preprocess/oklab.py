"""sRGB in, OKLab out: the space in which palettes are learnt and compared, as the eye would."""

from __future__ import annotations

import numpy as np

# Björn Ottosson, "A perceptual color space for image processing" (2020).
_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def _linear(values: np.ndarray) -> np.ndarray:
    """sRGB's transfer curve undone (IEC 61966-2-1), 0..255 to 0..1."""
    share = values / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


# What each value of red, green and blue adds to L, M and S: [3 of LMS, 3 channels, 256].
_LMS = _TO_LMS[:, :, None] * _linear(np.arange(256.0))
UNIT = 2.0**-14  # of `to_oklab_units`: a three-hundredth of a difference that can be seen


def to_oklab(rgb: np.ndarray) -> np.ndarray:
    """uint8 [..., 3] to OKLab, float64 [..., 3]: lightness 0..1, and two axes of about -0.4..0.4."""
    return np.stack(_axes(rgb[..., 0], rgb[..., 1], rgb[..., 2]), axis=-1)


def to_oklab_units(rgb: np.ndarray) -> np.ndarray:
    """uint8 [..., 3] to OKLab in whole units of 2^-14, int32 [..., 3].

    Distances between whole numbers are exact, so that which colour is nearest, and with it every byte of a
    dataset, is the same on every machine.
    """
    return np.rint(to_oklab(rgb) / UNIT).astype(np.int32)


def box_in_units(red: np.ndarray, green: np.ndarray, blue: np.ndarray) -> np.ndarray:
    """The colours of a box of the colour cube, in the units of `to_oklab_units`.

    Args:
      red, green, blue: the box's values, uint8 [R], [G] and [B].

    Returns:
      whole numbers, float64 [3, R, G, B].
    """
    return np.rint(np.stack(_axes(red[:, None, None], green[:, None], blue)) / UNIT)


def _axes(red: np.ndarray, green: np.ndarray, blue: np.ndarray) -> list[np.ndarray]:
    """L, a and b of colours whose channels, uint8, are broadcast against each other."""
    long, middle, short = (np.cbrt(lms[0][red] + lms[1][green] + lms[2][blue]) for lms in _LMS)
    return [long * row[0] + middle * row[1] + short * row[2] for row in _TO_LAB]


def to_rgb(lab: np.ndarray) -> np.ndarray:
    """Inverse of `to_oklab`, rounded and clipped to uint8 [..., 3]."""
    linear = ((lab @ np.linalg.inv(_TO_LAB).T) ** 3) @ np.linalg.inv(_TO_LMS).T
    share = np.clip(linear, 0, 1)
    values = np.where(share <= 0.0031308, share * 12.92, 1.055 * share ** (1 / 2.4) - 0.055)
    return np.rint(values * 255).astype(np.uint8)
