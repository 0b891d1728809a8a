"""What the command lines of all scripts share: complaints of one line, typed paths, how a command ends.

Imports the standard library and `training.cli` only, so that a missing package can be reported.
"""

from __future__ import annotations

import argparse
import difflib
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, NoReturn

from training.cli import exit_code


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line, with the flag that was probably meant."""

    def __init__(self, prog: str, description: str | None, epilog: str | None = None) -> None:
        super().__init__(
            prog, description=description, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
        )

    def error(self, message: str) -> NoReturn:
        """Wrong usage: one sentence, exit status 2."""
        known = re.findall(r"(?<![\w-])--[\w-]+", self.format_help())
        slip = re.search(r"unrecognized arguments:.*?(--[\w-]+)", message)
        near = difflib.get_close_matches(slip[1], known, n=1) if slip else []
        hint = f"; did you mean {near[0]}?" if near else "; --help lists all flags"
        self.exit(2, f"{self.prog}: {' '.join(message.split())}{hint}\n")

    def print_help(self, file: IO[str] | None = None) -> None:  # type: ignore[override]
        """Prints the help at once; argparse itself passes over a device that is full."""
        print(self.format_help(), end="", file=file, flush=True)


def run(
    parser: Parser,
    work: Callable[[argparse.Namespace], int],
    words: Sequence[str] | None = None,
    extra: str = "all",
) -> int:
    """Parses the command line and does the work; every script's `main` is this.

    Args:
      work: takes what was typed and returns the exit code. It imports what the script needs, so that --help
        and slips are answered without it.
      words: the command line; that of this process if None.
      extra: the extra of linewash that installs what `work` imports.

    Returns:
      The exit code, as `training.cli.exit_code` gives it.

    Raises:
      SystemExit: --help, or wrong usage.
    """
    if sys.stdout is None:  # closed by the shell: a file that is written would take its place
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):  # names that are not UTF-8, and terminals without a ×
        sys.stdout.reconfigure(errors="backslashreplace")
    return exit_code(parser.prog, lambda: work(parser.parse_args(words)), extra)


def local_path(text: str) -> Path:
    """The `type` of every argument that is a path on this machine.

    Raises:
      argparse.ArgumentTypeError: an empty path, a remote one, or `~` without a home folder.
    """
    return Path(local_path_text(text))


def local_path_text(text: str) -> str:
    """As `local_path`, but keeps the slash at the end by which a user says that a folder is meant."""
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
    """The `type` of an argument that is a whole number from `low` up."""

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
