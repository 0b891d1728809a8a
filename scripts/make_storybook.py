"""Draws the storybook, a data set of coloured scenes as JPEGs in class folders, for linewash to learn from.

Usage: python scripts/make_storybook.py OUT --count N --seed S [--workers N]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from linewash.coloring.arguments import Parser, at_least, local_path, run

from preprocess.cores import available_cores
from training.errors import WorkError


def parser() -> Parser:
    """Every flag."""
    made = Parser("make_storybook", "Draw coloured picture-book scenes as JPEGs into class folders.")
    add = made.add_argument
    add("out", metavar="OUT", type=local_path, help="folder to write (new, or of this seed)")
    add("--count", type=at_least(1), required=True, help="how many pictures")
    add("--seed", type=at_least(0), required=True, help="which pictures")
    add("--workers", type=at_least(1), default=available_cores(), help="processes [one a core]")
    return made


def main(words: list[str] | None = None) -> int:
    """Answers the command line; returns the exit code."""
    made = parser()
    return run(made, lambda args: work(args, made), words, extra="all")


def work(args: argparse.Namespace, parser: Parser) -> int:
    """Draws the scenes that are missing; 0.

    Raises:
      UsageError: OUT is something else, or of another seed.
      WorkError: a process that draws has ended.
    """
    from concurrent.futures import BrokenExecutor

    from linewash.storybook.writer import BookError, write_book

    try:
        drawn = write_book(args.out, args.count, args.seed, args.workers)
    except BookError as reason:
        parser.exit(2, f"{parser.prog}: {reason}\n")
    except BrokenExecutor as reason:
        raise WorkError(f"{reason} Run it again to go on.") from None
    except KeyboardInterrupt:
        print(f"{parser.prog}: stopped; run it again to go on.", file=sys.stderr)
        raise
    print(f"{args.out}: {args.count} pictures of seed {args.seed}, {drawn} drawn now.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
