"""Draws the storybook, a data set of coloured scenes as JPEGs in class folders, for linewash to learn from.

Usage: python scripts/make_storybook.py OUT --count N --seed S [--workers N]
"""

import argparse
import sys
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from storybook.book import BookError, write_book  # noqa: E402

from preprocess.cores import available_cores  # noqa: E402


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Wrong usage: one sentence, exit status 2."""
        self.exit(2, f"{self.prog}: {message}\n")


def _at_least(low: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < low:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {low}")
        return int(text)

    return parse


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, write the book; exit status 0 done, 1 failed, 2 wrong usage, 130 stopped."""
    parser = _Parser(description="Draw coloured picture-book scenes as JPEGs into class folders.")
    parser.add_argument("out", metavar="OUT", type=Path, help="folder to write (new, or of this seed)")
    parser.add_argument("--count", type=_at_least(1), required=True, help="how many pictures")
    parser.add_argument("--seed", type=_at_least(0), required=True, help="which pictures")
    processors = available_cores()
    parser.add_argument("--workers", type=_at_least(1), default=processors, help="default: one per CPU")
    args = parser.parse_args(arguments)
    try:
        drawn = write_book(args.out, args.count, args.seed, args.workers)
    except BookError as reason:
        parser.error(str(reason))
    except (OSError, BrokenExecutor) as reason:
        print(f"{parser.prog}: {reason}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{parser.prog}: stopped; run it again to go on.", file=sys.stderr)
        return 130
    print(f"{args.out}: {args.count} pictures of seed {args.seed}, {drawn} drawn now.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
