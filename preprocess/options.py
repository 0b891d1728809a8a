"""Parses the command line: linewash's flags are checked here, all others are Beam's."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, NoReturn

from preprocess.image_index import Subset
from preprocess.plan import Sharding, SplitBy
from preprocess.recipe import RECIPES, Recipe
from tfrecords_schema import Palette, user_path

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

DESCRIPTION = """\
Convert photographs, once, into sharded TFRecords of (Canny edges, posterized labels).

  python -m preprocess --input photos/ --output dataset/
  python -m preprocess --input 'imagenet/train/*/*.JPEG' --output dataset/ --palette kmeans:64
"""
EPILOG = """\
Any Apache Beam flag may follow (--runner, --project, --temp_location, --direct_num_workers, ...). Without
--runner the job runs on all cores of this machine. Run the same command again to go on after a stop.
LINEWASH_DEBUG=1 in the environment shows what the workers print, also when one of them crashes.
Exit codes: 0 done, 1 the work failed, 2 wrong usage, 130, 143 and 129 stopped by Ctrl-C, SIGTERM and SIGHUP.
"""


MOST_WORKERS = 1000  # processes on this machine
MOST_PIXELS = 1 << 30  # of an image: OpenCV decodes no more
# What other tools call the number of processes, which here is Beam's --direct_num_workers.
_WORKERS = ("--workers", "--jobs", "--processes", "--num_processes", "--threads", "--num_threads", "--cores",
            "--cpus", "--num_cpus", "--nproc", "--n_jobs", "--num_proc", "-j", "-n", "-w")  # fmt: skip


class UsageError(ValueError):
    """A command line that cannot be run; the message says what to type instead."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What the command line asks for. `beam` are the flags to hand to Beam."""

    inputs: dict[str | None, list[str]]  # patterns by the split they are for; None: not said
    output: str
    recipe: Recipe
    learn_colors: int  # colours to learn from the images in place of the recipe's palette; 0: none
    layout: Sharding
    subset: Subset
    max_reject_fraction: float
    retry_rejects: bool  # write the shards anew that lack images which could not be read
    beam: list[str]

    @property
    def local(self) -> bool:
        """True when linewash chose the runner: all cores of this machine."""
        return not has_flag(self.beam, "--runner", "--direct_running_mode")

    @property
    def template(self) -> bool:
        """True when the job is not to be run but to be written down: so do Dataflow's Flex Templates."""
        return has_flag(self.beam, "--template_location")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)

    def print_help(self, file: SupportsWrite[str] | None = None) -> None:
        """As argparse does, which however passes over a device that is full."""
        print(self.format_help(), end="", file=file)


def _parser() -> _Parser:
    parser = _Parser(
        prog="python -m preprocess",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    for flag, meaning in (
        ("--input", "folders (searched through), files, tars or globs; local, or gs:// and the like"),
        ("--train_input", "in place of --input: what goes to the train split"),
        ("--val_input", "in place of --input: what goes to the val split"),
    ):
        add(flag, nargs="+", action="extend", default=[], metavar="PATTERN", help=meaning)
    add("--output", required=True, metavar="DATASET", help="the dataset directory to write or to go on with")
    recipe = parser.add_argument_group("recipe (decides pixels)")
    add = recipe.add_argument
    add("--recipe", choices=RECIPES, default="default",
        help="where to start: default (reduced decode, area resize) or article (full, bilinear)")  # fmt: skip
    add("--image_size", type=int, metavar="PX", help="side of the maps, a multiple of 8 [128]")
    add("--palette", default="grid", metavar="PALETTE",
        help="grid, kmeans:K (K colours learnt from the images), or a .json, .gpl or .hex file")  # fmt: skip
    add(
        "--num_values",
        type=int,
        metavar="N",
        help="values a channel of the grid palette, 2 to 16: N³ colours [3]",
    )
    add("--fit", choices=["squash", "crop"], help="how a photograph becomes square [squash]")
    add("--max_pixels", type=int, metavar="N", help="leave out images with more pixels [67108864]")
    subset = parser.add_argument_group("subset (of the images found)")
    add = subset.add_argument
    add("--classes", metavar="NAMES", help="names with commas between, first:N, or a file of names [all]")
    add("--fraction", type=float, default=1.0, metavar="F", help="share of the images [1]")
    add("--limit", type=int, metavar="N", help="this many images at most")
    layout = parser.add_argument_group("shards (decide where a record goes)")
    add = layout.add_argument
    add("--split", choices=["hash", "folder"], default="hash",
        help="by a hash of the key, or by the train/ or val/ folder an image lies in [hash]")  # fmt: skip
    add("--val_fraction", type=float, default=0.05, metavar="F", help="share of the val split [0.05]")
    add("--num_shards", type=int, default=0, metavar="N", help="train shards [about 1,024 images each]")
    add("--compression", choices=["none", "gzip"], default="none", help="of the shards [none]")
    add("--seed", type=int, default=0, metavar="N", help="of the split and the order [0]")
    add("--keys_with_input", action="store_true",
        help="begin keys with the name of the input, so that two inputs may hold the same keys")  # fmt: skip
    add = parser.add_argument_group("quality").add_argument
    add("--max_reject_fraction", type=float, default=0.05, metavar="F",
        help="fail when a larger share of the images had to be left out [0.05]")  # fmt: skip
    add("--retry_rejects", action="store_true",
        help="write the shards anew in which images were unreadable, as when storage failed")  # fmt: skip
    return parser


def parse(argv: list[str]) -> Options:
    """Parses and checks the command line. (`--help` prints and exits 0.)

    Raises:
      UsageError: a flag is missing, unknown or out of range.
    """
    flags, rest = _parser().parse_known_args(argv)
    try:
        palette, learn_colors = _palette(flags)
        recipe = _recipe(flags, palette)
        subset = Subset(flags.classes, flags.fraction, flags.limit)
        split: SplitBy = flags.split if flags.input else "input"
        layout = Sharding(
            flags.seed, split, flags.val_fraction, flags.num_shards, flags.compression, flags.keys_with_input
        )
    except ValueError as e:
        raise e if isinstance(e, UsageError) else UsageError(f"--{e}") from None
    if not 0 <= flags.max_reject_fraction <= 1:
        raise UsageError(f"--max_reject_fraction must be from 0 to 1, got {flags.max_reject_fraction}")
    return Options(
        inputs=_inputs(flags),
        output=_path("--output", flags.output).rstrip("/") or "/",
        recipe=recipe,
        learn_colors=learn_colors,
        layout=layout,
        subset=subset,
        max_reject_fraction=flags.max_reject_fraction,
        retry_rejects=flags.retry_rejects,
        beam=rest,
    )


def _inputs(flags: argparse.Namespace) -> dict[str | None, list[str]]:
    """The patterns by split: all in one with --input, or those of both splits."""
    if flags.input and (flags.train_input or flags.val_input):
        raise UsageError("give either --input, or --train_input and --val_input")
    if flags.input:
        return {None: _paths("--input", flags.input)}
    if not (flags.train_input and flags.val_input):
        raise UsageError("say what to convert: --input PATTERN, or --train_input and --val_input")
    return {
        "train": _paths("--train_input", flags.train_input),
        "val": _paths("--val_input", flags.val_input),
    }


def _paths(flag: str, typed: Iterable[str]) -> list[str]:
    return [_path(flag, path) for path in typed]


def _path(flag: str, typed: str) -> str:
    """The path that was typed after `flag`, with `~` expanded."""
    if not typed:
        raise UsageError(f"{flag} is empty: give a path (a variable of the shell may not be set)")
    try:
        return user_path(typed)
    except ValueError as e:
        raise UsageError(f"{flag} {e}") from None


def _recipe(flags: argparse.Namespace, palette: Palette) -> Recipe:
    """The named recipe with what the flags change."""
    names = ("image_size", "fit", "max_pixels")
    changes = {name: getattr(flags, name) for name in names if getattr(flags, name) is not None}
    if flags.max_pixels is not None and flags.max_pixels > MOST_PIXELS:
        raise UsageError(f"--max_pixels must be at most {MOST_PIXELS}, got {flags.max_pixels}")
    return dataclasses.replace(RECIPES[flags.recipe], palette=palette, **changes)


def _palette(flags: argparse.Namespace) -> tuple[Palette, int]:
    """The palette, and how many colours are to be learnt from the images instead."""
    if flags.num_values is not None and not 2 <= flags.num_values <= 16:
        raise UsageError(f"--num_values must be from 2 to 16, got {flags.num_values}")
    kind, _, number = flags.palette.partition(":")
    if kind != "grid" and flags.num_values is not None:
        raise UsageError(f"--num_values is of the grid palette, and --palette is {flags.palette}: drop one")
    if kind == "kmeans":
        if not re.fullmatch("[0-9]{1,4}", number) or not 2 <= int(number) <= 4096:
            raise UsageError(f"--palette kmeans:K takes 2 to 4096 colours, got {flags.palette}")
        return Palette.grid(3), int(number)
    if flags.palette == "grid":
        return Palette.grid(flags.num_values or 3), 0
    from preprocess import palettes  # OpenCV comes with it

    try:
        return palettes.load(_path("--palette", flags.palette)), 0
    except palettes.PaletteError as e:
        raise UsageError(str(e)) from None


def has_flag(flags: list[str], *names: str) -> bool:
    """True when one of `names` stands among the flags, as --name VALUE or --name=VALUE."""
    return any(flag.split("=")[0] in names for flag in flags)


def check_beam_flags(flags: list[str]) -> None:
    """Refuses flags that neither linewash nor Beam knows: Beam itself would pass over them in silence.

    Raises:
      UsageError: naming the first such flag, and what it might have been.
    """
    from apache_beam.options.pipeline_options import PipelineOptions

    parser = _Parser(add_help=False, allow_abbrev=False, conflict_handler="resolve")
    for options in PipelineOptions.__subclasses__():
        options._add_argparse_args(parser)
    known, unknown = parser.parse_known_args(flags)
    _check_range("--direct_num_workers", known.direct_num_workers, MOST_WORKERS)
    _check_range("--direct_runner_bundle_repeat", known.direct_runner_bundle_repeat, MOST_WORKERS)
    ours = [option for action in _parser()._actions for option in action.option_strings]
    names = ours + [option for action in parser._actions for option in action.option_strings]
    # Flink's and Spark's job servers have flags of their own, which Beam asks them for when it hands a job
    # in: there only what looks like a slip of the pen is refused.
    served = re.search("flink|spark|portable", known.runner or "", re.IGNORECASE)
    for flag in [flag for flag in unknown if flag.startswith("--")] if served else unknown[:1]:
        if not flag.startswith("-"):
            raise UsageError(f"{flag} belongs to no flag: put a value with spaces in it in quotes")
        name = flag.split("=")[0]
        if name in _WORKERS and not known.runner:
            near = ["--direct_num_workers"]  # Beam's --num_workers, nearer by its letters, does nothing here
        else:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.85 if served else 0.6)
        if near or not served:
            hint = f"did you mean {near[0]}?" if near else "see python -m preprocess --help"
            raise UsageError(f"neither linewash nor Beam knows {flag}; {hint}")


def _check_range(flag: str, value: int | None, most: int) -> None:
    if value is not None and not 0 <= value <= most:
        raise UsageError(f"{flag} must be from 0 to {most}, got {value}")
