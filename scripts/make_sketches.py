"""Draws sample sketches that look hand-made, as ink, chalk, pencil, phone photo and other kinds of files.

python scripts/make_sketches.py FOLDER
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from linewash.arguments import Parser, at_least, local_path, run

from training.atomic_files import atomic_write


def make_parser() -> Parser:
    """Returns the parser of the command line."""
    parser = Parser("make_sketches", __doc__)
    add = parser.add_argument
    add("folder", type=local_path, metavar="FOLDER", help="folder to write: drawings/ and hints/")
    add("--seed", type=at_least(0), default=0, help="seed of the hand's trembling [0]")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    return run(make_parser(), work, argv, extra="onnx")


def work(args: argparse.Namespace) -> int:
    """Writes the sketches. Returns 0."""
    from linewash.samples.sketches import sketches

    for sketch in sketches(args.seed):
        for subfolder, data in (("drawings", sketch.data), ("hints", sketch.hints)):
            if data:
                with atomic_write(args.folder / subfolder / sketch.name) as temporary:
                    temporary.write_bytes(data)
    print(f"drawings in {args.folder / 'drawings'}, colour hints for one of them in {args.folder / 'hints'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
