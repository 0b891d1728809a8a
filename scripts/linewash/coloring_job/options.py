"""Parses the command line of the job. Flags that are not its own are passed to Beam."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from linewash.coloring.cli import add_drawing_flags, color_list
from preprocess import cli
from preprocess.options import Parser, PrintVersion, UsageError, is_local, parse_path, with_underscores

if TYPE_CHECKING:
    from linewash.coloring_job.recipe import ColoringRecipe

USAGE = "%(prog)s --input PATTERN... --output FOLDER [FLAGS]"
DESCRIPTION = """\
Colours the drawings of folders and buckets as an Apache Beam job.

  %(prog)s --input comic/ --output colored/
  %(prog)s --input gs://bucket/comic --output gs://bucket/colored --run out/runs/unet/export
"""
EPILOG = """\
Flags may be written with dashes: --only-colors is the same as --only_colors.

All flags of Apache Beam are accepted as well (--runner, --project,
--temp_location, --direct_num_workers, ...). Without --runner the job runs on
all cores of this machine. To continue a job that was stopped, run the same
command again: it skips drawings that are coloured.

Exit codes: 0 success, 1 the work failed, 2 wrong usage, 130, 143 and 129
stopped by Ctrl-C, SIGTERM and SIGHUP.
"""


@dataclasses.dataclass(frozen=True)
class Options:
    """The parsed command line. `beam` has the flags that are passed to Beam."""

    input: list[str]
    output: str
    run: str  # an export, or a run directory with one; empty: the starter model
    recipe: ColoringRecipe
    max_reject_fraction: float
    retry_rejects: bool  # try the drawings again that an earlier run rejected
    beam: list[str]

    @property
    def input_patterns(self) -> list[str]:
        """All input patterns."""
        return self.input

    @property
    def local(self) -> bool:
        """True if the job runs on all cores of this machine."""
        return is_local(self.beam)


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the job's own flags."""
    parser = Parser(
        prog=cli.command_name(),
        usage=USAGE,
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--version", action=PrintVersion, nargs=0, help="show the version and exit")
    add(
        "--input",
        nargs="+",
        action="extend",
        default=[],
        metavar="PATTERN",
        help="folders of drawings (searched recursively), drawings or globs; local or remote (gs://, s3://)",
    )
    add(
        "-o",
        "--output",
        required=True,
        metavar="FOLDER",
        help="folder for the pictures: a new one, or one to continue",
    )
    _add_coloring(parser.add_argument_group("colouring (as in colorize.py)").add_argument)
    rejects = parser.add_argument_group("rejected drawings").add_argument
    rejects(
        "--max_reject_fraction",
        type=float,
        default=0.05,
        metavar="F",
        help="fail if more than this fraction of the drawings is rejected [0.05]",
    )
    rejects(
        "--retry_rejects", action="store_true", help="try the drawings again that an earlier run rejected"
    )
    return parser


def _add_coloring(add: Callable[..., Any]) -> None:
    add(
        "--run",
        default="",
        metavar="RUN",
        help="an export (python -m training.export), or a run directory that holds one; local or remote "
        "[the starter model]",
    )
    add(
        "--format",
        default="png",
        metavar="FORMATS",
        help="files to write for each drawing, separated by commas: png, svg, ora [png]",
    )
    add(
        "--no_lines",
        dest="draws_lines",
        action="store_false",
        help="leave the lines out of the PNG and the SVG",
    )
    add(
        "--only_colors",
        metavar="COLORS",
        help="colours that the network may choose, such as 3,7,#ff8800: numbers in its palette, or #rrggbb",
    )
    add_drawing_flags(add, str)  # the picture of --reference may be remote
    add("--temperature", type=float, help="of --decode mean [0.38]")
    add("--max_pixels", type=int, default=1 << 26, metavar="N",
        help="reject drawings with more pixels; fewer need less memory [67108864]")  # fmt: skip


def parse(argv: list[str]) -> Options:
    """Parses and checks the command line. `--help` and `--version` print their text and exit with code 0.

    Raises:
      UsageError: a flag is missing or out of range.
    """
    parser = build_parser()
    flags, beam_flags = parser.parse_known_args(with_underscores(argv, parser))
    if not flags.input:
        raise UsageError("no input: give --input PATTERN")
    if not 0 <= flags.max_reject_fraction <= 1:
        raise UsageError(f"--max_reject_fraction must be from 0 to 1, got {flags.max_reject_fraction}")
    return Options(
        input=[parse_path("--input", path) for path in flags.input],
        output=parse_path("--output", flags.output).rstrip("/") or "/",
        run=parse_path("--run", flags.run) if flags.run else "",
        recipe=_recipe(flags, beam_flags),
        max_reject_fraction=flags.max_reject_fraction,
        retry_rejects=flags.retry_rejects,
        beam=beam_flags,
    )


def _recipe(flags: argparse.Namespace, beam_flags: list[str]) -> ColoringRecipe:
    # Imported here, so that --help and a missing flag are answered at once.
    from linewash.coloring.cli import find_reference
    from linewash.coloring.colorizer import Settings
    from linewash.coloring_job.recipe import FORMATS, ColoringRecipe
    from preprocess.storage import files, registry
    from training import errors

    names = [name.strip() for name in flags.format.split(",")]
    ordered = sorted(dict.fromkeys(names), key=lambda name: FORMATS.index(name) if name in FORMATS else -1)
    picture = None if flags.reference is None else parse_path("--reference", flags.reference)
    registry.set_options(beam_flags)  # the picture may be in a bucket
    try:
        settings = Settings(
            decode=flags.decode,
            size=flags.size,
            temperature=flags.temperature,
            background=flags.background,
            only_colors=None if flags.only_colors is None else color_list(flags.only_colors),
            reference=find_reference(picture, flags.colors, files.read),
            vivid=flags.vivid,
            reference_strength=flags.reference_strength,
        )
        return ColoringRecipe(
            settings, flags.lines, flags.source, flags.draws_lines, tuple(ordered), flags.max_pixels
        )
    except errors.UsageError as e:
        raise UsageError(str(e)) from None
