"""The recipe: every choice that decides pixels, and nothing else; two datasets with one fingerprint agree."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from functools import cached_property
from typing import Any, Literal

from tfrecords_schema import Palette

# Raise it whenever the same settings begin to give other pixels, or the same images other keys.
# Version 2: the article's recipe truncates when it stretches (the setting `stretch` is new); transparency is
# laid on white; a picture of one colour is left out also where the colour is no grey; what follows a
# picture's end is passed over; some keys changed. Datasets of version 1 are read, trained on and verified as
# before, but shards of version 2 are not added to them.
VERSION = 2
GRID = Palette.grid(3)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How one photograph becomes (edges, labels).

    Defaults give sharper lines sooner than the article the project started from; `ARTICLE` is that one, with
    one deliberate difference: colours are read as RGB, where the article's code has the BGR of cv2.imread.

    Raises:
      ValueError: a setting is out of range; the message says which, and the range.
    """

    image_size: int = 128  # side of both maps, px; a multiple of 8 so that edges pack into whole bytes
    palette: Palette = GRID  # the colours that labels stand for
    fit: Literal["squash", "crop"] = "squash"  # to the square: change the aspect, or cut the longer side
    decode: Literal["reduced", "full"] = "reduced"  # JPEG at a reduced DCT scale, never below image_size
    resize: Literal["area", "bilinear"] = "area"
    stretch: Literal["round", "truncate"] = "round"  # to whole values, when pixels are stretched to 0..255
    max_pixels: int = 1 << 26  # by the header, before decoding
    bilateral_diameter: int = 3  # px
    bilateral_sigma_color: float = 60.0
    bilateral_sigma_space: float = 120.0
    canny_spread: float = 0.33  # thresholds stand this share of 255 below and above the median grey
    version: int = VERSION

    def __post_init__(self) -> None:
        if not 16 <= self.image_size <= 2048 or self.image_size % 8:
            raise ValueError(f"image_size must be a multiple of 8 from 16 to 2048, got {self.image_size}")
        if self.fit not in ("squash", "crop"):
            raise ValueError(f"fit must be squash or crop, got {self.fit}")
        if self.max_pixels < self.image_size**2:
            raise ValueError(f"max_pixels must be at least image_size², got {self.max_pixels}")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the manifest; of the palette only its name, for its colours stand beside."""
        names = (field.name for field in dataclasses.fields(self))
        return {name: getattr(self, name) for name in names} | {"palette": self.palette.name}

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that differ whenever any setting does; what a palette is called is none."""
        return fingerprint(self.as_dict(), self.palette)

    @property
    def version_1_fingerprint(self) -> str:
        """The fingerprint that these settings had before version 2, which knew no `stretch`."""
        settings = self.as_dict() | {"version": 1}
        del settings["stretch"]
        return fingerprint(settings, self.palette)


def fingerprint(settings: dict[str, Any], palette: Palette) -> str:
    """That of a recipe whose plain values are `settings`."""
    settings = settings | {"palette": palette.colors}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


DEFAULT = Recipe()
ARTICLE = Recipe(decode="full", resize="bilinear", stretch="truncate")
RECIPES = {"default": DEFAULT, "article": ARTICLE}
