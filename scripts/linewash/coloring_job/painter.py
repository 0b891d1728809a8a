"""Colours one drawing: the bytes of its file to the bytes of its pictures."""

from __future__ import annotations

import cv2

from linewash.coloring.colorizer import ColoredImage, colorize
from linewash.coloring.line_extraction import EmptyDrawingError, read_drawing
from linewash.coloring.model_loader import Network
from linewash.coloring.openraster import to_ora, to_png
from linewash.coloring.svg_writer import to_svg
from linewash.coloring_job.recipe import ColoringRecipe, Format
from preprocess.rejects import Rejected
from training.errors import WorkError


def color_drawing(data: bytes, network: Network, recipe: ColoringRecipe) -> dict[Format, bytes]:
    """Colours a drawing. Equal arguments give equal bytes.

    Returns:
      A file for each of `recipe.formats`.

    Raises:
      Rejected: `format` (it cannot be read as an image of a suitable size), `no_lines`, `uncolorable` or
        `memory`.
    """
    try:
        drawing = read_drawing(data, recipe.lines, recipe.source, max_pixels=recipe.max_pixels)
    except EmptyDrawingError as e:
        raise Rejected("no_lines", str(e)) from None
    except WorkError as e:
        raise Rejected("format", str(e)) from None
    except (MemoryError, cv2.error) as e:
        raise _out_of_memory(e) from None
    try:
        image = colorize(drawing, network, recipe.settings)[0]
        return {name: _encode(image, name, recipe.draws_lines) for name in recipe.formats}
    except WorkError as e:
        raise Rejected("uncolorable", str(e)) from None
    except (MemoryError, cv2.error) as e:
        raise _out_of_memory(e) from None


def _encode(image: ColoredImage, name: Format, draws_lines: bool) -> bytes:
    if name == "png":
        return to_png(image, draws_lines)
    return to_ora(image) if name == "ora" else to_svg(image, draws_lines)


def _out_of_memory(error: Exception) -> Exception:
    """Returns the rejection of a drawing for which memory was not enough, or another error unchanged."""
    if isinstance(error, cv2.error) and error.code != cv2.Error.StsNoMem:
        return error
    return Rejected("memory", "there is not enough memory to colour the drawing: make it smaller")
