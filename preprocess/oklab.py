"""Converts between sRGB and OKLab, the perceptual colour space in which palettes are learnt and compared."""

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
    """Inverts the transfer curve of sRGB (IEC 61966-2-1): 0..255 to 0..1."""
    scaled = values / 255
    return np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)


# The contribution of each value of red, green and blue to L, M and S: [3 (LMS), 3 channels, 256].
_LMS = _TO_LMS[:, :, None] * _linear(np.arange(256.0))
UNIT = 2.0**-14  # of `to_oklab_units`; about 1/300 of a visible difference


def to_oklab(rgb: np.ndarray) -> np.ndarray:
    """Converts uint8 [..., 3] to OKLab, float64 [..., 3]: lightness 0..1, a and b about -0.4..0.4."""
    return np.stack(_axes(rgb[..., 0], rgb[..., 1], rgb[..., 2]), axis=-1)


def to_oklab_units(rgb: np.ndarray) -> np.ndarray:
    """Converts uint8 [..., 3] to OKLab in integer units of 2^-14, int32 [..., 3].

    Distances between integers are exact. The nearest colour, and thus every byte of a dataset, is therefore
    the same on every machine.
    """
    return np.rint(to_oklab(rgb) / UNIT).astype(np.int32)


def box_in_units(red: np.ndarray, green: np.ndarray, blue: np.ndarray) -> np.ndarray:
    """Converts all colours of a box of the RGB cube to the units of `to_oklab_units`.

    Args:
      red, green, blue: the values along the sides of the box, uint8 [R], [G] and [B].

    Returns:
      Integers as float64 [3, R, G, B].
    """
    return np.rint(np.stack(_axes(red[:, None, None], green[:, None], blue)) / UNIT)


def _axes(red: np.ndarray, green: np.ndarray, blue: np.ndarray) -> list[np.ndarray]:
    """Returns L, a and b of the colours with the given uint8 channels, which are broadcast."""
    long, middle, short = (np.cbrt(lms[0][red] + lms[1][green] + lms[2][blue]) for lms in _LMS)
    return [long * row[0] + middle * row[1] + short * row[2] for row in _TO_LAB]


def to_rgb(lab: np.ndarray) -> np.ndarray:
    """Converts OKLab to RGB, rounded and clipped to uint8 [..., 3]. The inverse of `to_oklab`."""
    linear = ((lab @ np.linalg.inv(_TO_LAB).T) ** 3) @ np.linalg.inv(_TO_LMS).T
    linear = np.clip(linear, 0, 1)
    values = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(values * 255).astype(np.uint8)
