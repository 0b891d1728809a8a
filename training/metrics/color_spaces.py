"""sRGB to what it is used as: OKLab for targets, CIELAB for CIEDE2000, and the channels of colour hints."""

from __future__ import annotations

import numpy as np

from tfrecords_schema import Palette

HINT_CHANNELS = 4  # red, green, blue from 0 to 1, and 1 where there is a hint at all

# Björn Ottosson, "A perceptual color space for image processing" (2020).
_RGB_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_LMS_TO_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
# IEC 61966-2-1, Amendment 1 (2003): linear sRGB to XYZ; its white is the sum of each row (D65).
_RGB_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def to_oklab(rgb: np.ndarray) -> np.ndarray:
    """uint8 [..., 3] to OKLab, float64 [..., 3]: lightness 0..1, and two axes of about -0.4..0.4."""
    return np.cbrt(_linear(rgb) @ _RGB_TO_LMS.T) @ _LMS_TO_OKLAB.T


def to_cielab(rgb: np.ndarray) -> np.ndarray:
    """uint8 [..., 3] to CIELAB under D65 (CIE 15:2004, section 8.2.1), float64 [..., 3]: L* is 0..100."""
    share = _linear(rgb) @ (_RGB_TO_XYZ / _RGB_TO_XYZ.sum(1, keepdims=True)).T
    x, y, z = np.moveaxis(
        np.where(share > (6 / 29) ** 3, np.cbrt(share), share * (29 / 6) ** 2 / 3 + 4 / 29), -1, 0
    )
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def hint_table(palette: Palette) -> np.ndarray:
    """What a network sees of a hint, by label + 1, and of none, by 0: float32 [K + 1, 4]."""
    table = np.zeros((len(palette) + 1, HINT_CHANNELS), np.float32)
    table[1:, :3] = palette.rgb / 255
    table[1:, 3] = 1
    return table


def _linear(rgb: np.ndarray) -> np.ndarray:
    """sRGB's transfer curve undone (IEC 61966-2-1), 0..255 to 0..1."""
    share = np.asarray(rgb) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
