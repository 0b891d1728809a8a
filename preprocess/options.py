"""Parses the command line. linewash's flags are checked here; all other flags are passed to Beam."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import re
from collections.abc import Callable, Iterable
from itertools import chain
from typing import TYPE_CHECKING, Any, NoReturn

from preprocess.cli import command_name
from preprocess.image_index import Subset
from preprocess.plan import Sharding, SplitBy
from preprocess.recipe import LINEWASH, RECIPES, SIDE_BY_SIDE, Learnt, Recipe
from tfrecords_schema import Palette, __version__, user_path

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

USAGE = "%(prog)s --input PATTERN... --output DATASET [FLAGS]"
DESCRIPTION = """\
Converts images to TFRecord shards of line drawings and posterized labels.

  %(prog)s --input photos/ --output dataset/
  %(prog)s --input 'imagenet/train/*/*.JPEG' --output dataset/
"""
EPILOG = """\
Flags may be written with dashes: --image-size is the same as --image_size.

All flags of Apache Beam are accepted as well (--runner, --project,
--temp_location, --direct_num_workers, ...). Without --runner the job runs on
all cores of this machine. To continue a job that was stopped, run the same
command again.

LINEWASH_DEBUG=1 in the environment shows the output of the workers, also when
a worker crashes.

Exit codes: 0 success, 1 the work failed, 2 wrong usage, 130, 143 and 129
stopped by Ctrl-C, SIGTERM and SIGHUP.
"""

MAX_WORKERS = 1000  # processes on this machine
MAX_PIXELS = 1 << 30  # of an image; the limit of OpenCV
# The names that other tools have for Beam's --direct_num_workers.
_WORKER_FLAGS = ("--workers", "--jobs", "--processes", "--num_processes", "--threads", "--num_threads",
                 "--cores", "--cpus", "--num_cpus", "--nproc", "--n_jobs", "--num_proc",
                 "-j", "-n", "-w")  # fmt: skip


class UsageError(ValueError):
    """A command line that cannot be run. The message says what to type instead."""


@dataclasses.dataclass(frozen=True)
class Options:
    """The parsed command line. `beam` has the flags that are passed to Beam."""

    inputs: dict[str | None, list[str]]  # patterns by the split they are for; None: --split decides
    drawings: list[str]  # patterns of the drawings whose colourings the inputs are; empty: there are none
    output: str
    recipe: Recipe
    sharding: Sharding
    subset: Subset
    max_reject_fraction: float
    retry_rejects: bool  # write the shards again that have unreadable images
    beam: list[str]

    @property
    def input_patterns(self) -> list[str]:
        """All input patterns, those of the drawings included."""
        return [*chain.from_iterable(self.inputs.values()), *self.drawings]

    @property
    def local(self) -> bool:
        """True if the command line names no runner, so that the job runs on all cores of this machine."""
        return is_local(self.beam)

    @property
    def template(self) -> bool:
        """True if the job is written as a template (Dataflow's Flex Templates do so) instead of being run."""
        return is_template(self.beam)


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are raised as `UsageError`."""

    def error(self, message: str) -> NoReturn:
        """Raises the message as a `UsageError`."""
        raise UsageError(message)

    def print_help(self, file: SupportsWrite[str] | None = None) -> None:
        """Prints the help. Unlike argparse, raises OSError if stdout cannot be written."""
        print(self.format_help(), end="", file=file)


class PrintVersion(argparse.Action):
    """`--version`. Unlike argparse's own action, raises OSError if stdout cannot be written."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Prints the name of the command and the version, and exits."""
        print(f"{parser.prog} {__version__}")
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of linewash's own flags."""
    parser = Parser(
        prog=command_name(),
        usage=USAGE,
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=PrintVersion, nargs=0, help="show the version and exit")
    _add_paths(parser.add_argument)
    _add_recipe(parser.add_argument_group("recipe (settings that change pixels)").add_argument)
    _add_subset(parser.add_argument_group("subset (which images are used)").add_argument)
    _add_sharding(parser.add_argument_group("sharding (where a record goes)").add_argument)
    _add_rejects(parser.add_argument_group("rejected images").add_argument)
    return parser


# fmt: off
def _add_paths(add: Callable[..., Any]) -> None:
    for flag, meaning in (
        ("--input", "image folders (searched recursively), image files, tar files or globs; "
                    "local or remote (gs://, s3://)"),
        ("--train_input", "images of the train split, instead of --input"),
        ("--val_input", "images of the val split, instead of --input"),
    ):
        add(flag, nargs="+", action="extend", default=[], metavar="PATTERN", help=meaning)
    add("--drawings", nargs="+", action="extend", default=[], metavar="PATTERN",
        help="drawings whose colourings --input has: the same folders and names, but for the extension. If "
             "there are as many patterns as for --input, each belongs to the one in its place")
    add("-o", "--output", required=True, metavar="DATASET", help="dataset directory to write or to continue")


def _add_recipe(add: Callable[..., Any]) -> None:
    add("--recipe", choices=RECIPES, default="default",
        help="base settings: default (reduced decode, area resize) or article (full decode, bilinear resize, "
             "grid palette) [default]")
    add("--image_size", type=int, metavar="PX",
        help="side of the edge and label maps in pixels, a multiple of 8 [128]")
    add("--palette", metavar="PALETTE",
        help="linewash (32 colours), grid, kmeans:K (K colours learnt from the images), or a .json, .gpl or "
             ".hex file [linewash; grid with --recipe article or --num_values]")
    add("--lines", nargs="+", action="extend", metavar="STYLE",
        help="line styles, separated by commas or spaces: canny, canny_fine, canny_coarse, xdog, borders, "
             "drawn; each is stored as a map of its own [canny]")
    add("--num_values", type=int, metavar="N",
        help="values per channel of the grid palette, 2 to 16: N³ colours [3]; means --palette grid")
    add("--fit", choices=["squash", "crop"],
        help="how an image becomes square: squash changes its aspect, crop cuts its longer side [squash]")
    add("--max_pixels", type=int, metavar="N", help="reject images with more pixels [67108864]")
    add("--side_by_side", choices=SIDE_BY_SIDE, dest="pairs",
        help="each image is a drawing and its colouring: its two halves, from left to right")
    add("--min_colored", type=float, metavar="F",
        help="reject images of which a smaller fraction of the pixels has a colour [0.02 of pairs and SVGs, "
             "0 of photographs]")


def _add_subset(add: Callable[..., Any]) -> None:
    add("--classes", metavar="NAMES",
        help="names separated by commas, first:N, or a text file of names [all]")
    add("--fraction", type=float, default=1.0, metavar="F",
        help="fraction of the images, chosen by a hash of their keys [1]")
    add("--limit", type=int, metavar="N", help="maximum number of images, chosen in the same way")
    add("--class_limit", type=int, metavar="N",
        help="maximum number of images of each class (the folder they are in), chosen in the same way")


def _add_sharding(add: Callable[..., Any]) -> None:
    add("--split", choices=["hash", "series", "folder"], default="hash",
        help="assign images to train and val by a hash of the key, by a hash of its series (the words of the "
             "file name, without numbers), or by the train/ or val/ folder they are in [hash]")
    add("--val_fraction", type=float, default=0.05, metavar="F",
        help="fraction of the images in the val split [0.05]")
    add("--num_shards", type=int, default=0, metavar="N",
        help="number of train shards [one per 64 images up to 32 shards; above 32,768 images one per 1,024]")
    add("--compression", choices=["none", "gzip"], default="none", help="compression of the shards [none]")
    add("--seed", type=int, default=0, metavar="N", help="seed of the split and of the order of images [0]")
    add("--keys_with_input", action="store_true",
        help="begin each key with the name of its input, so that two inputs may have the same keys")


def _add_rejects(add: Callable[..., Any]) -> None:
    add("--max_reject_fraction", type=float, default=0.05, metavar="F",
        help="fail if more than this fraction of the images is rejected [0.05]")
    add("--retry_rejects", action="store_true",
        help="write the shards again that have unreadable images, for example after storage failed")
# fmt: on


def with_underscores(argv: list[str], parser: argparse.ArgumentParser) -> list[str]:
    """Replaces dashes in the flags of `parser`: `--image-size=64` becomes `--image_size=64`."""
    own_flags = {name for action in parser._actions for name in action.option_strings}

    def spell(argument: str) -> str:
        flag, equals, value = argument.partition("=")
        name = "--" + flag.removeprefix("--").replace("-", "_")
        return name + equals + value if flag.startswith("--") and name in own_flags else argument

    return [spell(argument) for argument in argv]


def parse(argv: list[str]) -> Options:
    """Parses and checks the command line. `--help` and `--version` print their text and exit with code 0.

    Raises:
      UsageError: a flag is missing, unknown or out of range.
    """
    parser = build_parser()
    flags, beam_flags = parser.parse_known_args(with_underscores(argv, parser))
    try:
        recipe = _recipe(flags)
        subset = Subset(flags.classes, flags.fraction, flags.limit, flags.class_limit)
        split: SplitBy = flags.split if flags.input else "input"
        sharding = Sharding(
            flags.seed, split, flags.val_fraction, flags.num_shards, flags.compression, flags.keys_with_input
        )
    except ValueError as e:
        raise e if isinstance(e, UsageError) else UsageError(f"--{e}") from None
    if not 0 <= flags.max_reject_fraction <= 1:
        raise UsageError(f"--max_reject_fraction must be from 0 to 1, got {flags.max_reject_fraction}")
    return Options(
        inputs=_inputs(flags),
        drawings=_paths("--drawings", flags.drawings),
        output=parse_path("--output", flags.output).rstrip("/") or "/",
        recipe=recipe,
        sharding=sharding,
        subset=subset,
        max_reject_fraction=flags.max_reject_fraction,
        retry_rejects=flags.retry_rejects,
        beam=beam_flags,
    )


def _inputs(flags: argparse.Namespace) -> dict[str | None, list[str]]:
    """Returns the patterns by split: all under None with --input, or those of train and of val."""
    if flags.input and (flags.train_input or flags.val_input):
        raise UsageError("give either --input, or --train_input and --val_input")
    if flags.input:
        return {None: _paths("--input", flags.input)}
    if not (flags.train_input and flags.val_input):
        raise UsageError("no input: give --input PATTERN, or --train_input and --val_input")
    return {
        "train": _paths("--train_input", flags.train_input),
        "val": _paths("--val_input", flags.val_input),
    }


def _paths(flag: str, paths: Iterable[str]) -> list[str]:
    return [parse_path(flag, path) for path in paths]


def parse_path(flag: str, path: str) -> str:
    """Returns the value of a flag as a path, with `~` expanded."""
    if not path:
        raise UsageError(f"{flag} is empty: give a path (a variable of the shell may not be set)")
    try:
        return user_path(path)
    except ValueError as e:
        raise UsageError(f"{flag} {e}") from None


def _recipe(flags: argparse.Namespace) -> Recipe:
    """Returns the named recipe with the changes that the flags make."""
    if flags.drawings and flags.pairs:
        raise UsageError("give either --drawings or --side_by_side: a drawing is in a file of its own or not")
    if flags.drawings:
        flags.pairs = "files"
    names = ("image_size", "fit", "max_pixels", "pairs", "min_colored")
    changes = {name: getattr(flags, name) for name in names if getattr(flags, name) is not None}
    if flags.max_pixels is not None and flags.max_pixels > MAX_PIXELS:
        raise UsageError(f"--max_pixels must be at most {MAX_PIXELS}, got {flags.max_pixels}")
    if (palette := _palette(flags.palette, flags.num_values)) is not None:
        changes["palette"] = palette
    if flags.lines is not None:
        changes["lines"] = _lines(" ".join(flags.lines).replace(",", " ").split())
    return dataclasses.replace(RECIPES[flags.recipe], **changes)


def _lines(names: list[str]) -> tuple[str, ...]:
    """Checks the names of line styles and returns them."""
    from preprocess.lines.styles import LINE_STYLES  # this imports OpenCV

    for name in names:
        if name not in LINE_STYLES:
            close = difflib.get_close_matches(name.lower().replace("-", "_"), LINE_STYLES, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise UsageError(f"--lines: there is no line style {name}, only {', '.join(LINE_STYLES)}{hint}")
    return tuple(names)


def _palette(name: str | None, num_values: int | None) -> Palette | Learnt | None:
    """Returns the palette that the flags --palette and --num_values name, or None for the recipe's own."""
    if num_values is not None and not 2 <= num_values <= 16:
        raise UsageError(f"--num_values must be from 2 to 16, got {num_values}")
    if name is None and num_values is None:
        return None
    if name in ("grid", None):
        return Palette.grid(num_values or 3)
    if num_values is not None:
        raise UsageError(f"--num_values is for the grid palette, and --palette is {name}: drop one of them")
    if name == "linewash":
        return LINEWASH
    kind, _, number = name.partition(":")
    if kind == "kmeans":
        if not re.fullmatch("[0-9]{1,4}", number) or not 2 <= int(number) <= 4096:
            raise UsageError(f"--palette kmeans:K takes 2 to 4096 colours, got {name}")
        return Learnt(int(number))
    from preprocess import palettes  # this imports OpenCV

    try:
        return palettes.load(parse_path("--palette", name))
    except palettes.PaletteError as e:
        raise UsageError(str(e)) from None


def has_flag(flags: list[str], *names: str) -> bool:
    """Returns True if one of `names` is among the flags, as --name VALUE or --name=VALUE."""
    return any(flag.split("=")[0] in names for flag in flags)


def is_local(beam_flags: list[str]) -> bool:
    """Returns True if Beam's flags name no runner, so that the job runs on all cores of this machine."""
    return not has_flag(beam_flags, "--runner", "--direct_running_mode")


def is_template(beam_flags: list[str]) -> bool:
    """Returns True if the job is written as a template instead of being run."""
    return has_flag(beam_flags, "--template_location")


def check_beam_flags(flags: list[str], own_parser: argparse.ArgumentParser | None = None) -> None:
    """Checks that Beam has all of `flags`, because Beam itself ignores unknown flags.

    Args:
      flags: all flags that are not of `own_parser`.
      own_parser: of the command, that of preprocess by default; its flags are suggested too.

    Raises:
      UsageError: a flag is unknown; the message suggests a similar one.
    """
    from apache_beam.options.pipeline_options import PipelineOptions

    parser = Parser(add_help=False, allow_abbrev=False, conflict_handler="resolve")
    for options in PipelineOptions.__subclasses__():
        options._add_argparse_args(parser)
    known, unknown = parser.parse_known_args(flags)
    _check_range("--direct_num_workers", known.direct_num_workers, MAX_WORKERS)
    _check_range("--direct_runner_bundle_repeat", known.direct_runner_bundle_repeat, MAX_WORKERS)
    actions = [*(own_parser or build_parser())._actions, *parser._actions]
    names = [name for action in actions for name in action.option_strings]
    # The job servers of Flink and Spark have flags of their own, which Beam asks them for when it submits the
    # job. For these runners, only a flag that is likely to be misspelt is refused.
    has_job_server = re.search("flink|spark|portable", known.runner or "", re.IGNORECASE)
    for flag in [flag for flag in unknown if flag.startswith("--")] if has_job_server else unknown[:1]:
        if not flag.startswith("-"):
            raise UsageError(f"{flag} belongs to no flag: put a value with spaces in quotes")
        name = flag.split("=")[0]
        if name in _WORKER_FLAGS and not known.runner:
            # Beam's --num_workers is spelt more alike, but has no effect on this machine.
            raise UsageError(f"unknown flag {flag}; did you mean --direct_num_workers?")
        if near := difflib.get_close_matches(name, names, n=1, cutoff=0.85 if has_job_server else 0.6):
            raise UsageError(f"unknown flag {flag}; did you mean {near[0]}?")
        if not has_job_server:
            raise UsageError(f"unknown flag {flag}, of linewash and of Beam: see {command_name()} --help")


def _check_range(flag: str, value: int | None, max_value: int) -> None:
    if value is not None and not 0 <= value <= max_value:
        raise UsageError(f"{flag} must be from 0 to {max_value}, got {value}")
