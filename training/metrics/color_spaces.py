"""Converts sRGB to OKLab and CIELAB, and palette colours to the input channels of colour hints."""

from __future__ import annotations

import numpy as np

from tfrecords_schema import Palette

HINT_CHANNELS = 4  # red, green and blue from 0 to 1, and a mask that is 1 where there is a hint

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
# IEC 61966-2-1, Amendment 1 (2003): linear sRGB to XYZ. The sum of each row is the white point, D65.
_RGB_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def to_oklab(rgb: np.ndarray) -> np.ndarray:
    """Converts sRGB to OKLab (Ottosson 2020).

    Args:
      rgb: uint8 [..., 3].

    Returns:
      float64 [..., 3]: lightness from 0 to 1, and the axes a and b from about -0.4 to 0.4.
    """
    return np.cbrt(_linear(rgb) @ _RGB_TO_LMS.T) @ _LMS_TO_OKLAB.T


def to_cielab(rgb: np.ndarray) -> np.ndarray:
    """Converts sRGB to CIELAB under D65 (CIE 15:2004, section 8.2.1).

    Args:
      rgb: uint8 [..., 3].

    Returns:
      float64 [..., 3]: L* from 0 to 100, a* and b* from about -110 to 110.
    """
    ratio = _linear(rgb) @ (_RGB_TO_XYZ / _RGB_TO_XYZ.sum(1, keepdims=True)).T
    x, y, z = np.moveaxis(
        np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio * (29 / 6) ** 2 / 3 + 4 / 29), -1, 0
    )
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def hint_table(palette: Palette) -> np.ndarray:
    """Returns the input channels of hints: float32 [K + 1, 4].

    Row 0 is for pixels without a hint, row label + 1 for a hint with that label.
    """
    table = np.zeros((len(palette) + 1, HINT_CHANNELS), np.float32)
    table[1:, :3] = palette.rgb / 255
    table[1:, 3] = 1
    return table


def nearest_colors(source: Palette, target: Palette) -> np.ndarray:
    """Returns the index of the colour of `source` that is nearest to each of `target` in OKLab: [K]."""
    difference = to_oklab(target.rgb)[:, None] - to_oklab(source.rgb)[None]
    return (difference**2).sum(-1).argmin(1)


def _linear(rgb: np.ndarray) -> np.ndarray:
    """Converts sRGB, 0 to 255, to linear light, 0 to 1 (IEC 61966-2-1)."""
    encoded = np.asarray(rgb) / 255
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
