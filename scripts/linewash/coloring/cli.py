"""The command line of scripts/colorize.py and linewash-colorize."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from linewash.arguments import Parser, local_path, local_path_text, run
from training.cli import command_name
from training.errors import UsageError, WorkError

if TYPE_CHECKING:
    import numpy as np

    from linewash.coloring.colorizer import Settings
    from linewash.coloring.model_loader import Network
    from linewash.coloring.output_paths import InputFiles, OutputPaths
    from linewash.coloring.progress import Progress
    from linewash.coloring.reference import Reference

P = TypeVar("P")
DESCRIPTION = "Colours line drawings: photos of pencil sketches, scanned pages, PNGs with transparency, SVGs."
EPILOG = """\
examples:
  {prog} drawing.jpg -o colored.png
  {prog} --run runs/unet drawing.svg -o colored.png --svg colored.svg
  {prog} --run runs/unet sketches/ -o colored/
  {prog} --run runs/unet drawing.png -o colored.png --variants 4 --ora colored.ora
"""


def make_parser() -> Parser:
    """Returns the parser of all flags."""
    prog = command_name("colorize.py")
    parser = Parser(prog, DESCRIPTION, EPILOG.format(prog=prog))
    add = parser.add_argument
    add("drawings", type=local_path, nargs="+", metavar="DRAWING", help="images, or folders of images")
    add_run_flag(parser)
    add(
        "-o", "--output", type=local_path_text, required=True,
        help="a .png for one drawing, or a folder",
    )  # fmt: skip
    add(
        "--no-lines",
        dest="draws_lines",
        action="store_false",
        help="leave the lines out of the PNG and the SVG; layers have them apart",
    )
    add(
        "--layers",
        type=local_path,
        metavar="DIR",
        help="also write a transparent PNG per colour, and one of the lines",
    )
    add(
        "--ora",
        type=local_path_text,
        metavar="FILE",
        help="also write an OpenRaster file, for Krita and GIMP",
    )
    add(
        "--svg",
        type=local_path_text,
        metavar="FILE",
        help="also write an SVG with a path per region, for Inkscape and Illustrator",
    )
    add("--palette-out", type=local_path, metavar="FILE.gpl", help="also write the network's palette")
    add("--variants", type=int, default=1, metavar="N", help="number of different colourings [1]")
    add(
        "--hints",
        type=local_path,
        metavar="STROKES.png",
        help="a transparent image of the drawing's size: a stroke colours the region it lies on",
    )
    add(
        "--only-colors",
        type=color_list,
        metavar="COLORS",
        help="colours that the network may choose, such as 3,7,#ff8800: numbers in its palette, or #rrggbb "
        "for the palette colour nearest to it",
    )
    add_drawing_flags(add)
    parser.set_defaults(source=None)  # to tell whether it was given: without it, a photo gets advice
    add("--seed", type=int, default=0, help="seed of the variants [0]")
    add(
        "--temperature",
        type=float,
        help="above 1, variants differ more [1]; with --decode mean, of the mean [0.38]",
    )
    return parser


def add_drawing_flags(add: Callable[..., object], path: Callable[[str], object] = local_path) -> None:
    """Adds the flags that say how a drawing is read and coloured, to a parser or a group of one.

    `path` is the `type` of a file.
    """
    add(
        "--reference",
        type=path,
        metavar="PICTURE",
        help="use the colours of this picture, any image or SVG, as far as they suit the drawing; needs a "
        "network trained with experiment=reference",
    )
    add(
        "--colors",
        metavar="COLORS",
        help="use these colours, such as '#f4c542:3,#2b6,navy', as far as they suit the drawing; the number "
        "after a colon is a weight; needs a network trained with experiment=reference",
    )
    add(
        "--reference-strength",
        "--reference_strength",  # as the flags of the Beam job are written
        type=float,
        default=0.5,
        metavar="X",
        help="how far the colours are brought to those of --reference or --colors, beyond what the network "
        "does: 0 not at all, 1 all the way [0.5]",
    )
    add(
        "--vivid",
        type=float,
        default=0.0,
        metavar="TAU",
        help="bring colours forward that were rare in training: 0.25 a little, 1 as if all were equally "
        "common, up to 3 [0]",
    )
    add(
        "--background",
        choices=["auto", "paper", "paint", "transparent"],
        default="auto",
        help="the paper around the figures stays white, is painted, or is left out; auto paints it "
        "where lines run from border to border, as in a landscape, or enclose next to nothing [auto]",
    )
    add(
        "--from",
        dest="source",
        choices=["drawing", "photo"],
        default="drawing",
        help="photo: use the edges of a photo as lines, as preprocess does [drawing]",
    )
    add(
        "--lines",
        choices=["auto", "dark", "light"],
        default="auto",
        help="whether the lines are darker or lighter than the paper [auto]",
    )
    add(
        "--decode",
        choices=["vote", "argmax", "mean"],
        default="vote",
        help="regions between lines vote, the likeliest colour of each pixel, or the annealed mean [vote]",
    )
    add(
        "--size",
        type=int,
        metavar="PX",
        help="the network sees the drawing with about PX x PX pixels [the size of its training]",
    )


def add_run_flag(parser: argparse.ArgumentParser) -> None:
    """Adds the flag that names the network."""
    parser.add_argument(
        "--run",
        type=local_path,
        metavar="RUN",
        help="a run directory, or an export of one [the starter model, which is part of linewash]",
    )


def color_list(text: str) -> tuple[int | str, ...]:
    """The `type` of --only-colors; `Settings` checks the items."""
    return tuple(int(item) if item.isdecimal() else item for item in map(str.strip, text.split(",")))


def find_reference(picture: P | None, colors: str | None, read: Callable[[P], bytes]) -> Reference | None:
    """Returns the reference that --reference or --colors give, or None without either.

    Args:
      picture: the path of --reference.
      colors: the list of --colors.
      read: reads a file.

    Raises:
      UsageError: both are given, the picture cannot be used, or the list is wrong.
    """
    from linewash.coloring.reference import parse_colors, read_reference

    if picture and colors is not None:
        raise UsageError("--reference and --colors exclude each other: type one of them")
    if colors is not None:
        return parse_colors(colors)
    if not picture:
        return None
    try:
        return read_reference(read(picture))
    except (OSError, WorkError) as e:
        raise UsageError(f"--reference {picture}: {getattr(e, 'strerror', None) or e}") from None


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    parser = make_parser()
    return run(parser, lambda args: colorize_files(args, parser.prog), argv, extra="onnx")


def colorize_files(args: argparse.Namespace, command: str) -> int:
    """Colours the drawings of a command line.

    Args:
      command: the name that begins messages.

    Returns:
      The exit code: 0, or 1 if a drawing could not be coloured.

    Raises:
      UsageError: the arguments are wrong; nothing has been written.
      WorkError: the network is damaged.
    """
    # Imported here, so that --help and wrong flags are answered at once.
    from linewash.coloring.colorizer import Settings, find_colors
    from linewash.coloring.image_io import read_file
    from linewash.coloring.model_loader import STARTER, load
    from linewash.coloring.output_paths import find_drawings, plan_outputs, write_palette
    from linewash.coloring.progress import Progress

    settings = Settings(
        args.decode, args.size, args.variants, args.seed, args.temperature, args.background,
        args.only_colors, find_reference(args.reference, args.colors, read_file), args.vivid,
        args.reference_strength,
    )  # fmt: skip
    destinations = [Path(path) for path in (args.output, args.layers, args.ora, args.svg) if path]
    inputs = find_drawings(args.drawings, destinations)
    several = len(inputs.drawings) > 1 or args.drawings[0].is_dir()
    others = {"--reference": args.reference, "--hints": args.hints}
    outputs = plan_outputs(inputs.drawings, args.output, args.layers, args.ora, args.svg, several, others)
    if args.palette_out and args.palette_out.suffix.lower() != ".gpl":
        raise UsageError(f"--palette-out {args.palette_out}: type a name that ends in .gpl")
    if args.hints and several:
        raise UsageError("--hints fits one drawing only: give just that one")
    network = load(args.run or STARTER)
    if settings.reference is not None:
        network.require_reference()
    if settings.vivid:
        network.require_prior()
    if settings.only_colors is not None:
        find_colors(settings.only_colors, network.palette)  # so that a wrong one is reported first
    hints = _read_hints(args.hints) if args.hints else None
    if args.palette_out:
        write_palette(args.palette_out, network.palette)
    num_steps = 2 + settings.variants * max((paths.num_steps for paths in outputs), default=0)
    failed = 0
    backgrounds: Counter[str] = Counter()
    with Progress(command, len(outputs), num_steps) as progress:
        for drawing, paths in zip(inputs.drawings, outputs, strict=True):
            progress.start_drawing(drawing.path)
            try:
                num_colored, background = _colorize_file(
                    drawing.path, paths, network, settings, hints, args, progress, command
                )
            except WorkError as e:
                failed += 1
                progress.print_line(f"{command}: {drawing.path}: {e}")
                continue
            backgrounds[background] += 1
            if num_colored < settings.variants:
                colorings = f"{num_colored} different colouring{'s' * (num_colored > 1)}"
                progress.print_line(
                    f"{command}: {drawing.path}: the network gave only {colorings}: type a higher "
                    "--temperature, such as 3"
                )
    exit_code = _report(command, inputs, outputs, failed, several, args)
    if settings.background == "auto" and backgrounds:
        print(_describe_backgrounds(backgrounds))
    return exit_code


def _describe_backgrounds(backgrounds: Counter[str]) -> str:
    """Says what --background auto decided for the drawings, counted by decision."""
    if backgrounds.total() > 1:
        return "background: " + ", ".join(f"{mode} in {count}" for mode, count in sorted(backgrounds.items()))
    if "paper" in backgrounds:
        return "background: paper, because lines close the figures; --background paint colours it"
    return (
        "background: paint, because the drawing does not look like figures on paper; "
        "--background paper keeps it white"
    )


def _report(
    command: str,
    inputs: InputFiles,
    outputs: list[OutputPaths],
    failed: int,
    several: bool,
    args: argparse.Namespace,
) -> int:
    """Prints what was written and what was skipped; returns the exit code."""
    from linewash.coloring.progress import print_above_bar

    for folder, reason in inputs.unlisted:
        print_above_bar(f"{command}: {folder}: the folder could not be listed: {reason}")
    if several:
        print(f"{len(outputs) - failed} of {len(outputs)} drawings coloured: {args.output}")
    elif not failed:
        print(f"written: {outputs[0].png.parent if args.variants > 1 else outputs[0].png}")
    if skipped := str(inputs.skipped):
        print(skipped)
    return WorkError.exit_code if failed or inputs.unlisted else 0


def _colorize_file(
    path: Path, output: OutputPaths, network: Network, settings: Settings, hints: np.ndarray | None,
    args: argparse.Namespace, progress: Progress, command: str,
) -> tuple[int, str]:  # fmt: skip
    """Colours one drawing; returns the number of images that were written and their background."""
    import cv2

    from linewash.coloring.colorizer import colorize
    from linewash.coloring.image_io import read_file
    from linewash.coloring.line_extraction import EmptyDrawingError, read_drawing
    from linewash.coloring.photo_detection import looks_like_photo

    try:
        progress.start_step("extracting lines")
        drawing = read_drawing(read_file(path), args.lines, args.source or "drawing")
        if args.source is None and looks_like_photo(drawing.rgb):
            progress.print_line(
                f"{command}: {path}: this looks like a photograph and was read as a drawing; type "
                "--from photo to colour its edges"
            )
        progress.start_step("choosing colours")
        images = colorize(drawing, network, settings, hints)
        output.write(images, args.draws_lines, settings.variants > 1, progress)
    except EmptyDrawingError as e:
        if args.source == "photo":
            raise
        raise WorkError(f"{e}, or type --lines dark or --lines light") from None
    except (MemoryError, cv2.error) as e:
        if isinstance(e, cv2.error) and e.code != cv2.Error.StsNoMem:
            raise
        raise WorkError("there is not enough memory to colour the drawing: make it smaller") from None
    return len(images), images[0].background_mode


def _read_hints(path: Path) -> np.ndarray:
    """Reads the hints: uint8 [H, W, 4].

    Raises:
      UsageError: the file is not an image with transparency.
    """
    from linewash.coloring.image_io import read_file, read_hints

    if not path.exists() or path.is_dir():
        problem = "is a folder" if path.is_dir() else "does not exist"
        raise UsageError(f"--hints {path} {problem}: type the name of a transparent PNG with strokes")
    try:
        return read_hints(read_file(path))
    except WorkError as e:
        raise UsageError(f"--hints {path}: {e}") from None
