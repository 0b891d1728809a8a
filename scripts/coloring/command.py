"""The command line of scripts/colorize.py: drawings in, coloured pictures out."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tqdm import tqdm

from training.errors import UsageError, WorkError
from training.words import exit_code

if TYPE_CHECKING:
    import numpy as np

    from coloring.drawing import Drawing
    from coloring.network import Network
    from coloring.outputs import Output
    from coloring.picture import Picture, Settings

DESCRIPTION = "Colours line drawings: a photo of a pencil sketch, a scanned page, a PNG with transparency."
EPILOG = """\
examples:
  colorize.py drawing.jpg -o colored.png
  colorize.py --run runs/unet drawing.jpg -o colored.png --overlay
  colorize.py --run runs/unet sketches/ -o colored/
  colorize.py --run runs/unet drawing.png -o colored.png --variants 4 --ora colored.ora
"""


class Parser(argparse.ArgumentParser):
    """One whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        """Wrong usage: one sentence, exit status 2."""
        known = re.findall(r"(?<![\w-])--[\w-]+", self.format_help())
        slip = re.search(r"unrecognized arguments:.*?(--[\w-]+)", message)
        near = difflib.get_close_matches(slip[1], known, n=1) if slip else []
        hint = f"; did you mean {near[0]}?" if near else "; --help lists all flags"
        self.exit(2, f"{self.prog}: {message}{hint}\n")


def parser() -> argparse.ArgumentParser:
    """Every flag."""
    made = Parser(
        prog="colorize", description=DESCRIPTION, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = made.add_argument
    add("drawings", type=Path, nargs="+", metavar="DRAWING", help="pictures, or folders of pictures")
    add_run(made)
    add("-o", "--out", type=Path, required=True, help="a .png for one drawing, or a folder")
    add("--overlay", action="store_true", help="draw the lines on top of the colours")
    add("--layers", type=Path, metavar="DIR", help="also a transparent PNG for each colour, and the lines")
    add("--ora", type=Path, metavar="FILE", help="also an OpenRaster file, for Krita and GIMP")
    add("--palette-out", "--palette", type=Path, metavar="FILE.gpl", help="also the network's palette")
    add("--variants", type=int, default=1, metavar="N", help="so many different colourings [1]")
    add(
        "--hints",
        type=Path,
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
        type=Path,
        metavar="RUN",
        help="a run directory, or an export of one; the starter model that comes along if left out",
    )


def main(words: list[str] | None = None) -> int:
    """Answers the command line; returns the exit code."""
    typed = parser().parse_args(words)
    return exit_code("colorize", lambda: work(typed))


def work(typed: argparse.Namespace) -> int:
    """Colours what was typed; 0, or 1 if a drawing had to be left out.

    Raises:
      UsageError: what was typed cannot be meant; nothing has been written.
      WorkError: the network is damaged.
    """
    # Here and not above, so that --help and slips are answered at once.
    from coloring.network import STARTER, load
    from coloring.outputs import find_drawings, plan, write_palette
    from coloring.picture import Settings

    settings = Settings(typed.decode, typed.size, typed.variants, typed.seed, typed.temperature)
    drawings = find_drawings(typed.drawings)
    many = len(drawings) > 1 or typed.drawings[0].is_dir()
    outputs = plan(drawings, typed.out, typed.layers, typed.ora, many)
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
    paths = [path for path, _ in drawings]
    failed = 0
    # disable=None: only where stderr is a terminal.
    for path, output in tqdm(zip(paths, outputs, strict=True), total=len(paths), unit="drawing",
                             disable=None if many else True):  # fmt: skip
        try:
            _color(path, output, network, settings, hints, typed)
        except WorkError as e:
            failed += 1
            _note(path, str(e))
    if many:
        print(f"{len(paths) - failed} of {len(paths)} drawings coloured: look at {typed.out}")
    elif not failed:
        print(f"look at {outputs[0].png.parent if typed.variants > 1 else outputs[0].png}")
    return WorkError.exit_code if failed else 0


def _color(
    path: Path, output: Output, network: Network, settings: Settings, hints: np.ndarray | None,
    typed: argparse.Namespace,
) -> None:  # fmt: skip
    from coloring.picture import colorize

    found: list[Picture] = colorize(_read_drawing(path, typed), network, settings, hints)
    output.write(found, typed.overlay, numbered=settings.variants > 1)
    if len(found) < settings.variants:
        _note(path, f"the network sees only {len(found)} ways to colour it; --temperature 3 is bolder")


def _read_drawing(path: Path, typed: argparse.Namespace) -> Drawing:
    from coloring.drawing import read_drawing

    try:
        data = path.read_bytes()
    except OSError as e:
        raise WorkError(f"it could not be read: {e.strerror or e}") from None
    return read_drawing(data, typed.lines, typed.source)


def _read_hints(path: Path) -> np.ndarray:
    from coloring.page import read_layer

    if not path.is_file():
        raise UsageError(f"--hints {path} is not there: type the name of a transparent PNG with strokes")
    try:
        return read_layer(path.read_bytes())
    except WorkError as e:
        raise UsageError(f"--hints {path}: {e}") from None


def _note(path: Path, sentence: str) -> None:
    tqdm.write(f"colorize: {path}: {sentence}", file=sys.stderr)
