"""The command line of scripts/colorize.py: drawings in, coloured pictures out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from linewash.coloring.arguments import Parser as Parser
from linewash.coloring.arguments import local_path, local_path_text, run
from training.errors import UsageError, WorkError

if TYPE_CHECKING:
    import numpy as np

    from linewash.coloring.colorize import Settings
    from linewash.coloring.model_loader import Network
    from linewash.coloring.output_paths import Drawings, Output
    from linewash.coloring.progress import Progress

DESCRIPTION = "Colours line drawings: a photo of a pencil sketch, a scanned page, a PNG with transparency."
EPILOG = """\
examples:
  colorize.py drawing.jpg -o colored.png
  colorize.py --run runs/unet drawing.jpg -o colored.png --overlay
  colorize.py --run runs/unet sketches/ -o colored/
  colorize.py --run runs/unet drawing.png -o colored.png --variants 4 --ora colored.ora
"""


def parser() -> Parser:
    """Every flag."""
    made = Parser("colorize", DESCRIPTION, EPILOG)
    add = made.add_argument
    add("drawings", type=local_path, nargs="+", metavar="DRAWING", help="pictures, or folders of pictures")
    add_run(made)
    add(
        "-o", "--out", "--output", type=local_path_text, required=True,
        help="a .png for one drawing, or a folder",
    )  # fmt: skip
    add("--overlay", action="store_true", help="draw the lines on top of the colours")
    add(
        "--layers",
        type=local_path,
        metavar="DIR",
        help="also a transparent PNG for each colour, and the lines",
    )
    add("--ora", type=local_path_text, metavar="FILE", help="also an OpenRaster file, for Krita and GIMP")
    add("--palette-out", "--palette", type=local_path, metavar="FILE.gpl", help="also the network's palette")
    add("--variants", type=int, default=1, metavar="N", help="so many different colourings [1]")
    add(
        "--hints",
        type=local_path,
        metavar="STROKES.png",
        help="a transparent picture of the drawing's size: each stroke says what is to be which colour",
    )
    add(
        "--from",
        dest="source",
        choices=["drawing", "photo"],
        default="drawing",
        help="photo: draw the lines first, as preprocess does [drawing]",
    )
    add(
        "--lines",
        choices=["auto", "dark", "light"],
        default="auto",
        help="whether lines are darker or lighter than the paper [auto]",
    )
    add(
        "--decode",
        choices=["vote", "argmax", "mean"],
        default="vote",
        help="areas between lines vote; the likeliest colour of each pixel; the annealed mean [vote]",
    )
    add(
        "--size",
        type=int,
        help="px: the network looks at about size x size; what it was trained at if left out",
    )
    add("--seed", type=int, default=0, help="decides the variants [0]")
    add("--temperature", type=float, help="bolder variants above 1; for mean, 0.38 if left out")
    return made


def add_run(parser: argparse.ArgumentParser) -> None:
    """The flag that names the network."""
    parser.add_argument(
        "--run",
        type=local_path,
        metavar="RUN",
        help="a run directory, or an export of one; the starter model that comes along if left out",
    )


def main(words: list[str] | None = None) -> int:
    """Answers the command line; returns the exit code."""
    return run(parser(), work, words, extra="onnx")


def work(typed: argparse.Namespace) -> int:
    """Colours what was typed; 0, or 1 if a drawing had to be left out.

    Raises:
      UsageError: what was typed cannot be meant; nothing has been written.
      WorkError: the network is damaged.
    """
    # Here and not above, so that --help and slips are answered at once.
    from linewash.coloring.colorize import Settings
    from linewash.coloring.model_loader import STARTER, load
    from linewash.coloring.output_paths import find_drawings, plan, write_palette
    from linewash.coloring.progress import Progress

    settings = Settings(typed.decode, typed.size, typed.variants, typed.seed, typed.temperature)
    drawings = find_drawings(typed.drawings, (Path(typed.out), typed.layers, typed.ora and Path(typed.ora)))
    many = len(drawings.found) > 1 or typed.drawings[0].is_dir()
    outputs = plan(drawings.found, typed.out, typed.layers, typed.ora, many)
    if typed.palette_out and typed.palette_out.suffix.lower() != ".gpl":
        raise UsageError(f"--palette-out {typed.palette_out}: type a name that ends in .gpl")
    if typed.hints and many:
        raise UsageError("--hints belongs to one drawing: type just one")
    network = load(typed.run or STARTER)
    if typed.hints and not network.takes_hints:
        raise UsageError(
            f"--hints: the network of {network.path} takes none; train one that does: "
            "python -m training data.root=DATASET experiment=hints"
        )
    hints = _read_hints(typed.hints) if typed.hints else None
    if typed.palette_out:
        write_palette(typed.palette_out, network.palette)
    steps = 2 + settings.variants * max((output.steps for output in outputs), default=0)
    with Progress("colorize", len(outputs), steps) as progress:
        failed = 0
        for (path, _), output in zip(drawings.found, outputs, strict=True):
            progress.begin(path)
            try:
                _color(path, output, network, settings, hints, typed, progress)
            except WorkError as e:
                failed += 1
                progress.note(f"colorize: {path}: {e}")
    return _tell(drawings, outputs, failed, many, typed)


def _tell(
    drawings: Drawings, outputs: list[Output], failed: int, many: bool, typed: argparse.Namespace
) -> int:
    """Says what was done and what was left out; returns the exit code."""
    from linewash.coloring.progress import say

    for folder, reason in drawings.unreadable:
        say(f"colorize: {folder}: it could not be listed: {reason}")
    if many:
        print(f"{len(outputs) - failed} of {len(outputs)} drawings coloured: look at {typed.out}")
    elif not failed:
        print(f"look at {outputs[0].png.parent if typed.variants > 1 else outputs[0].png}")
    if skipped := str(drawings.skipped):
        print(skipped)
    return WorkError.exit_code if failed or drawings.unreadable else 0


def _color(
    path: Path, output: Output, network: Network, settings: Settings, hints: np.ndarray | None,
    typed: argparse.Namespace, progress: Progress,
) -> None:  # fmt: skip
    import cv2

    from linewash.coloring.colorize import colorize
    from linewash.coloring.image_io import read_file
    from linewash.coloring.line_extraction import read_drawing

    try:
        progress.step("finding its lines")
        drawing = read_drawing(read_file(path), typed.lines, typed.source)
        progress.step("choosing colours")
        found = colorize(drawing, network, settings, hints)
        output.write(found, typed.overlay, settings.variants > 1, progress)
    except (MemoryError, cv2.error) as e:
        if isinstance(e, cv2.error) and e.code != cv2.Error.StsNoMem:
            raise
        raise WorkError("there is not enough memory to colour it: make it smaller") from None
    if len(found) < settings.variants:
        ways = f"{len(found)} way{'s' * (len(found) > 1)}"
        progress.note(
            f"colorize: {path}: the network sees only {ways} to colour it; --temperature 3 is bolder"
        )


def _read_hints(path: Path) -> np.ndarray:
    from linewash.coloring.image_io import read_file, read_layer

    if not path.exists() or path.is_dir():
        what = "is a folder" if path.is_dir() else "is not there"
        raise UsageError(f"--hints {path} {what}: type the name of a transparent PNG with strokes")
    try:
        return read_layer(read_file(path))
    except WorkError as e:
        raise UsageError(f"--hints {path}: {e}") from None
