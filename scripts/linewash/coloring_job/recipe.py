"""The settings that change the pictures of a job, recorded in its output folder."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, get_args

from linewash.coloring.colorizer import Settings
from linewash.coloring.line_extraction import Polarity, Source
from training.errors import UsageError

Format = Literal["png", "svg", "ora"]
FORMATS: tuple[Format, ...] = get_args(Format)
MAX_PIXELS = 1 << 30  # of a drawing; the limit of OpenCV


@dataclasses.dataclass(frozen=True)
class ColoringRecipe:
    """How the drawings of a job are coloured, and which files are written for each.

    Attributes:
      settings: of the colouring; one variant.
      lines: whether lines are darker or lighter than the paper.
      source: "photo" finds the lines of photographs first.
      draws_lines: whether the lines are drawn on top of the colours, in the PNG and the SVG.
      formats: the files to write for a drawing, in the order of `FORMATS`.
      max_pixels: a larger drawing is rejected.

    Raises:
      UsageError: a value is out of range.
    """

    settings: Settings
    lines: Polarity = "auto"
    source: Source = "drawing"
    draws_lines: bool = True
    formats: tuple[Format, ...] = ("png",)
    max_pixels: int = 1 << 26

    def __post_init__(self) -> None:
        unknown = [name for name in self.formats if name not in FORMATS]
        if unknown or not self.formats:
            raise UsageError(
                f"--format must be one or several of {', '.join(FORMATS)}; got {','.join(self.formats)!r}"
            )
        if not 1 <= self.max_pixels <= MAX_PIXELS:
            raise UsageError(f"--max_pixels must be 1 to {MAX_PIXELS}; got {self.max_pixels}")

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings by the names of their flags, as JSON has them."""
        settings = self.settings
        return {
            "background": settings.background,
            "decode": settings.decode,
            "format": ",".join(self.formats),
            "from": self.source,
            "lines": self.lines,
            "max_pixels": self.max_pixels,
            "no_lines": not self.draws_lines,
            "only_colors": None if settings.only_colors is None else ",".join(map(str, settings.only_colors)),
            "reference": None if settings.reference is None else settings.reference.digest,
            # None of a folder without a reference, as in those of older versions.
            "reference_strength": None if settings.reference is None else settings.reference_strength,
            "size": settings.size,
            "temperature": settings.temperature,
            "vivid": settings.vivid or None,  # folders of older versions lack it
        }
