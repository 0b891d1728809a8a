"""Draws the storybook: a data set of coloured scenes for linewash to learn from, in class folders.

python scripts/make_storybook.py FOLDER --count N --seed S
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from linewash.arguments import Parser, at_least, local_path, run

from preprocess.cores import available_cores
from training.errors import UsageError, WorkError


def make_parser() -> Parser:
    """Returns the parser of the command line."""
    parser = Parser("make_storybook", __doc__)
    add = parser.add_argument
    add(
        "folder", metavar="FOLDER", type=local_path,
        help="folder to write: a new one, or one with images of this seed",
    )  # fmt: skip
    add("--count", type=at_least(1), required=True, help="number of images")
    add("--seed", type=at_least(0), required=True, help="seed of the images: each seed draws other ones")
    add(
        "--format", choices=("jpeg", "svg"), default="jpeg",
        help="jpeg: shaded images; svg: flat colours, from which preprocess makes drawings [jpeg]",
    )  # fmt: skip
    add("--workers", type=at_least(1), default=available_cores(), help="processes [one per core]")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    return run(make_parser(), work, argv, extra="all")


def work(args: argparse.Namespace) -> int:
    """Draws the images that the folder does not have yet. Returns 0.

    Raises:
      UsageError: the folder has other content, or a storybook of another seed.
      WorkError: a worker process has ended.
    """
    from concurrent.futures import BrokenExecutor

    from linewash.storybook.writer import StorybookError, write_storybook

    try:
        num_written = write_storybook(args.folder, args.count, args.seed, args.workers, args.format)
    except StorybookError as e:
        raise UsageError(str(e)) from None
    except BrokenExecutor as e:
        raise WorkError(f"a worker process has ended ({e}); run the same command again to continue") from None
    except KeyboardInterrupt:
        print("make_storybook: stopped; run the same command again to continue", file=sys.stderr)
        raise
    print(f"{num_written:,} images written · {args.count:,} in total · {args.folder.resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
