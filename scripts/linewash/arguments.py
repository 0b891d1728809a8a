"""The argument parser and the argument types of all scripts. `training.cli` defines how commands end.

Imports only the standard library and `training`, so that a missing package can be reported.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, NoReturn

from training.cli import closest_match, did_you_mean, run_command, version_line
from training.errors import UsageError


class Parser(argparse.ArgumentParser):
    """An argument parser with --version, whose errors suggest the flag that was probably meant."""

    def __init__(self, prog: str, description: str | None, epilog: str | None = None) -> None:
        super().__init__(
            prog, description=description, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        self.add_argument("--version", action=_PrintVersion, nargs=0, help="print the version and exit")

    def error(self, message: str) -> NoReturn:
        """Raises the message as an error of `run`; argparse would print it below the usage lines.

        Raises:
          UsageError: always.
        """
        flags = re.findall(r"(?<![\w-])--[\w-]+", self.format_help())
        unknown = re.search(r"unrecognized arguments:.*?(--[\w-]+)", message)
        suggestion = closest_match(unknown[1], flags) if unknown else None
        hint = did_you_mean(suggestion) if suggestion else ";"
        raise UsageError(f"{' '.join(message.split())}{hint} --help lists all flags")

    def print_help(self, file: IO[str] | None = None) -> None:  # type: ignore[override]
        """Prints the help at once; argparse itself ignores a full device."""
        print(self.format_help(), end="", file=file, flush=True)


class _PrintVersion(argparse.Action):
    """Prints the name of the command and the version of linewash, and exits."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(version_line(parser.prog), flush=True)
        parser.exit()


def run(
    parser: Parser,
    work: Callable[[argparse.Namespace], int],
    argv: Sequence[str] | None = None,
    extra: str = "all",
) -> int:
    """Parses the command line and runs the script; every script's `main` calls it.

    Args:
      parser: the flags of the script.
      work: takes the parsed arguments and returns the exit code. It imports what the script needs, so that
        --help and wrong flags are answered without these packages.
      argv: the arguments; those of this process if None.
      extra: the extra of linewash that installs what `work` imports.

    Returns:
      The exit code of `training.cli.run_command`.
    """
    return run_command(parser.prog, lambda: work(parser.parse_args(argv)), extra)


def local_path(text: str) -> Path:
    """The `type` of an argument that is a path on this machine.

    Raises:
      argparse.ArgumentTypeError: the path is empty or remote, or `~` cannot be expanded.
    """
    return Path(local_path_text(text))


def local_path_text(text: str) -> str:
    """Like `local_path`, but keeps a slash at the end, which marks a folder."""
    from tfrecords_schema import user_path

    if not text:
        raise argparse.ArgumentTypeError("the path is empty: type the name of a file or folder")
    if "://" in text:
        raise argparse.ArgumentTypeError(f"{text} is not on this machine: copy it here, or type a path")
    try:
        return user_path(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(str(e)) from None


def at_least(low: int) -> Callable[[str], int]:
    """Returns the `type` of an argument that is a whole number of at least `low`."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = low - 1
        if number < low:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {low}")
        return number

    return parse


def positive(text: str) -> float:
    """The `type` of an argument that is a finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number
