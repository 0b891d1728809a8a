"""The recipe: all settings that decide pixels. Equal recipe fingerprints mean equal recipes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from functools import cached_property
from typing import Any, Literal

from tfrecords_schema import Palette

# To be raised when the same settings produce other pixels, or the same images other keys.
# Version 2 truncates while stretching in the article's recipe (the setting `stretch` is new), composites
# transparency on white, rejects every image of a single colour, ignores bytes after the end of an image, and
# changes some keys. Version 3 has line styles (`lines`), drawings with their colourings (`pairs`), SVGs, and
# rejects art without colour (`min_colored`).
# Datasets of earlier versions can be read, trained on and verified, but not extended.
VERSION = 3
# The settings that are new in each version.
_NEW_SETTINGS = {2: ("stretch",), 3: ("lines", "pairs", "min_colored")}
SIDE_BY_SIDE = ("drawing,color", "color,drawing")  # the halves of a file, from left to right
LINEWASH = Palette.linewash()
GRID = Palette.grid(3)  # the article's


@dataclasses.dataclass(frozen=True)
class Learnt:
    """A palette that is still to be learnt from the images: its number of colours."""

    colors: int


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How an image is converted to edges and labels.

    The defaults give sharper lines, and faster, than the article that this project started from. `ARTICLE` is
    the recipe of the article, with one intended difference: colours are read as RGB, where the article's code
    uses the BGR of cv2.imread.

    Raises:
      ValueError: a setting is out of range; the message names the setting and the range.
    """

    image_size: int = 128  # side of both maps in pixels; a multiple of 8, so that edges fill whole bytes
    palette: Palette | Learnt = LINEWASH  # the colours of the labels
    lines: tuple[str, ...] = ("canny",)  # names of line styles, see `preprocess.lines.styles`
    # Where the drawing of an image is: there is none; in a file of its own; in the left or the right half. An
    # SVG is its own drawing, unless it has a file of its own.
    pairs: Literal["none", "files", "drawing,color", "color,drawing"] = "none"
    fit: Literal["squash", "crop"] = "squash"  # how to make a square: change the aspect, or crop
    decode: Literal["reduced", "full"] = "reduced"  # reduced DCT scale of JPEGs, never below image_size
    resize: Literal["area", "bilinear"] = "area"
    stretch: Literal["round", "truncate"] = "round"  # to integers, when pixels are stretched to 0..255
    # Images are rejected if a smaller fraction of their pixels has a colour; None: 0.02 of pairs and of SVGs,
    # and 0 of photographs.
    min_colored: float | None = None
    max_pixels: int = 1 << 26  # width × height, checked in the header before decoding
    bilateral_diameter: int = 3  # pixels
    bilateral_sigma_color: float = 60.0
    bilateral_sigma_space: float = 120.0
    canny_spread: float = 0.33  # fraction of 255 between the median grey and each of the two thresholds
    version: int = VERSION

    def __post_init__(self) -> None:
        if not 16 <= self.image_size <= 2048 or self.image_size % 8:
            raise ValueError(f"image_size must be a multiple of 8 from 16 to 2048, got {self.image_size}")
        if self.fit not in ("squash", "crop"):
            raise ValueError(f"fit must be squash or crop, got {self.fit}")
        if self.pairs not in ("none", "files", *SIDE_BY_SIDE):
            raise ValueError(f"side_by_side must be {' or '.join(SIDE_BY_SIDE)}, got {self.pairs}")
        if self.min_colored is not None and not 0 <= self.min_colored <= 1:
            raise ValueError(f"min_colored must be from 0 to 1, got {self.min_colored}")
        if self.max_pixels < self.image_size**2:
            raise ValueError(f"max_pixels must be at least image_size², got {self.max_pixels}")
        if not self.lines:
            raise ValueError("lines is empty: name at least one line style, such as canny")
        if repeated := [name for i, name in enumerate(self.lines) if name in self.lines[:i]]:
            raise ValueError(f"lines has {repeated[0]} twice: name each line style once")

    @property
    def known_palette(self) -> Palette:
        """The palette, for code that runs after it has been learnt.

        Raises:
          TypeError: the palette is still to be learnt.
        """
        if isinstance(self.palette, Learnt):
            raise TypeError(f"the palette of {self.palette.colors} colours is not learnt yet")
        return self.palette

    def as_dict(self) -> dict[str, Any]:
        """Returns the settings as plain values for the manifest, with the name of the palette."""
        names = (field.name for field in dataclasses.fields(self))
        settings = {name: getattr(self, name) for name in names}
        return settings | {"palette": self.known_palette.name, "lines": list(self.lines)}

    @cached_property
    def fingerprint(self) -> str:
        """The recipe fingerprint: 16 hex digits that change with every setting but the palette's name."""
        return fingerprint(self.as_dict(), self.known_palette)

    def earlier_fingerprint(self, version: int) -> str:
        """Returns the recipe fingerprint of these settings in an earlier version, without newer settings."""
        newer = {name for number in range(version + 1, VERSION + 1) for name in _NEW_SETTINGS[number]}
        settings = {name: value for name, value in self.as_dict().items() if name not in newer}
        return fingerprint(settings | {"version": version}, self.known_palette)


def fingerprint(settings: dict[str, Any], palette: Palette) -> str:
    """Returns the recipe fingerprint of the plain values `settings`."""
    settings = settings | {"palette": palette.colors}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


DEFAULT = Recipe()
ARTICLE = Recipe(palette=GRID, decode="full", resize="bilinear", stretch="truncate")
RECIPES = {"default": DEFAULT, "article": ARTICLE}
