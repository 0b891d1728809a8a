"""Searches for the colours of the built-in palette, and prints them as `LINEWASH_COLORS` has them.

python scripts/design_palette.py --images IMAGES

White, black and one vivid colour of each of eight hues are given. The lightness and chroma of the greys, of
the skin tones, and of a light and a dark colour of the hues are searched for, so that the mean CIEDE2000
between photographs and their posterized copies is small. Each has a range, so that a light blue stays light
and blue, and no two colours may be nearer than MIN_DISTANCE in OKLab.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from compare_palettes import read_pixels
from linewash.arguments import Parser, at_least, local_path, run

from training.errors import WorkError

if TYPE_CHECKING:
    import numpy as np

MIN_DISTANCE = 0.055  # in OKLab; of white and black it is 1
SAMPLE_PIXELS = 6000
PENALTY = 100  # ΔE for each unit of distance that is missing between two colours
FIRST_STEP, LAST_STEP = 0.35, 0.03  # standard deviation of a change, as a fraction of the range

# Degrees in OKLab: steps of 45 from 22.5, moved by up to 10 to the hue that its name makes one expect.
HUES = {"red": 28, "yellow": 103, "green": 148, "cyan": 205, "blue": 255, "violet": 298, "pink": 345}
# Light and dark oranges are skin tones, so orange itself is the only one that is not.
VIVID = {
    "orange": (0.75, 0.16, 60),
    "red": (0.60, 0.21, 28),
    "yellow": (0.89, 0.165, 103),
    "green": (0.65, 0.16, 148),
    "cyan": (0.73, 0.12, 205),
    "blue": (0.57, 0.17, 255),
    "violet": (0.50, 0.21, 298),
    "pink": (0.67, 0.18, 345),
}  # lightness, chroma, hue
PALE_GREY = 0.893  # lightness; without this grey, shaded paper would take the lightest skin tone
GREYS = (0.7, 0.82), (0.46, 0.65), (0.25, 0.4)  # ranges of lightness
SKIN = (
    ((0.86, 0.93), (0.04, 0.06), 70),
    ((0.77, 0.86), (0.055, 0.09), 67),
    ((0.63, 0.75), (0.065, 0.1), 65),
    ((0.48, 0.6), (0.06, 0.1), 62),
    ((0.32, 0.42), (0.045, 0.07), 55),
)  # range of lightness, range of chroma, hue
# Ranges of lightness and of chroma. Some hues need more lightness or chroma than others to be recognized.
LIGHT = dict.fromkeys(HUES, ((0.72, 0.88), (0.05, 0.11))) | {
    "yellow": ((0.76, 0.94), (0.06, 0.11)),
    "cyan": ((0.78, 0.9), (0.05, 0.11)),
    "pink": ((0.79, 0.9), (0.06, 0.11)),
}
DARK = dict.fromkeys(HUES, ((0.3, 0.48), (0.045, 0.11))) | {
    "red": ((0.35, 0.48), (0.08, 0.13)),
    "blue": ((0.33, 0.48), (0.06, 0.11)),
}


@dataclass(frozen=True)
class Range:
    """The values that a colour may have: lowest and highest lightness, chroma and hue of OKLCh."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]


def ranges() -> list[Range]:
    """Returns the range of each colour, in the order of `LINEWASH_COLORS`."""

    def fixed(lightness: float, chroma: float = 0, hue: float = 0) -> Range:
        return Range((lightness, chroma, hue), (lightness, chroma, hue))

    def free(lightness: tuple[float, float], chroma: tuple[float, float] = (0, 0), hue: float = 0) -> Range:
        return Range((lightness[0], chroma[0], hue), (lightness[1], chroma[1], hue))

    light_grey, grey, dark_grey = (free(lightness) for lightness in GREYS)
    light = {name: free(*LIGHT[name], hue) for name, hue in HUES.items()}
    return [
        *(fixed(1), fixed(PALE_GREY), light_grey, *(free(*tone) for tone in SKIN)),
        *(grey, *(light | {"red": fixed(*VIVID["orange"])}).values()),
        *(dark_grey, *(fixed(*VIVID[name]) for name in HUES)),
        *(fixed(0), *(free(*DARK[name], hue) for name, hue in HUES.items())),
    ]


def to_rgb(colors: np.ndarray) -> np.ndarray:
    """Converts OKLCh [..., 3] to RGB, uint8 [..., 3]. Colours outside of sRGB are clipped."""
    import numpy as np

    from preprocess import oklab

    lightness, chroma, hue = np.moveaxis(colors, -1, 0)
    angle = np.radians(hue)
    return oklab.to_rgb(np.stack([lightness, chroma * np.cos(angle), chroma * np.sin(angle)], axis=-1))


class Cost:
    """The cost of a palette for a sample of pixels: the mean CIEDE2000, and a penalty for near colours.

    The distances of all pixels to all colours are kept, because a step of the search changes a single colour.
    """

    def __init__(self, pixels: np.ndarray, rgb: np.ndarray) -> None:
        from preprocess.oklab import to_oklab
        from training.metrics.color_spaces import to_cielab

        self._oklab, self._cielab = to_oklab(pixels), to_cielab(pixels)
        self._colors = to_oklab(rgb), to_cielab(rgb)
        self._distances = ((self._oklab[:, None] - self._colors[0]) ** 2).sum(axis=2)
        self.value = self._value(self._distances, *self._colors)

    def accept_if_better(self, index: int, rgb: np.ndarray) -> bool:
        """Replaces colour `index` by `rgb`, uint8 [3], if that lowers the cost."""
        from preprocess.oklab import to_oklab
        from training.metrics.color_spaces import to_cielab

        oklab, cielab = (colors.copy() for colors in self._colors)
        oklab[index], cielab[index] = to_oklab(rgb), to_cielab(rgb)
        distances = self._distances.copy()
        distances[:, index] = ((self._oklab - oklab[index]) ** 2).sum(axis=1)
        value = self._value(distances, oklab, cielab)
        if value >= self.value:
            return False
        self.value, self._distances, self._colors = value, distances, (oklab, cielab)
        return True

    def _value(self, distances: np.ndarray, oklab: np.ndarray, cielab: np.ndarray) -> float:
        import numpy as np

        from training.metrics.ciede2000 import ciede2000

        difference = ciede2000(self._cielab, cielab[distances.argmin(axis=1)]).mean()
        between = np.sqrt(((oklab[:, None] - oklab) ** 2).sum(axis=2))
        missing = np.clip(MIN_DISTANCE - between, 0, None)[np.triu_indices(len(oklab), 1)].sum()
        return float(difference + PENALTY * missing)


def search(pixels: np.ndarray, steps: int, seed: int) -> np.ndarray:
    """Returns the colours, uint8 [32, 3], after `steps` random changes of one colour each.

    Args:
      pixels: a sample of photographs, uint8 [N, 3].
      steps: the number of changes that are tried; those that lower the cost are kept.
      seed: of the changes. The same pixels and the same seed give the same colours.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    limits = ranges()
    low, high = np.array([limit.low for limit in limits]), np.array([limit.high for limit in limits])
    colors = (low + high) / 2
    cost = Cost(pixels, to_rgb(colors))
    free = np.flatnonzero((low < high).any(axis=1))
    for size in np.geomspace(FIRST_STEP, LAST_STEP, steps):
        index = generator.choice(free)
        change = size * generator.standard_normal(3) * (high - low)[index]
        color = np.clip(colors[index] + change, low[index], high[index])
        if cost.accept_if_better(index, to_rgb(color)):
            colors[index] = color
    return to_rgb(colors)


def make_parser() -> Parser:
    """Returns the parser of the command line."""
    parser = Parser("design_palette", __doc__)
    add = parser.add_argument
    add("--images", type=local_path, required=True, help="folder of photographs")
    add("--steps", type=at_least(1), default=6000, help="changes that are tried [6000]")
    add("--seed", type=int, default=0, help="seed of the search [0, the best of 0 to 3]")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    return run(make_parser(), work, argv, extra="all")


def work(args: argparse.Namespace) -> int:
    """Prints the colours. Returns 0.

    Raises:
      WorkError: the folder has no usable image.
    """
    import numpy as np
    from bench.datasets import list_images

    from tfrecords_schema import LINEWASH_COLORS

    images = list(read_pixels(list_images(args.images)))
    if not images:
        raise WorkError(f"no usable image in {args.images}")
    pixels = np.concatenate([image.reshape(-1, 3) for image in images])
    sample = np.random.default_rng(0).choice(pixels, min(SAMPLE_PIXELS, len(pixels)), replace=False)
    for name, rgb in zip(LINEWASH_COLORS, search(sample, args.steps, args.seed), strict=True):
        print(f'"{name}": "#{bytes(rgb).hex()}",')
    return 0


if __name__ == "__main__":
    sys.exit(main())
