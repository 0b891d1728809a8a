"""Draws the sketches: hand-like drawings made by code, in every way that a drawing reaches a computer.

python scripts/make_sketches.py OUT [--seed 0]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from linewash.coloring.arguments import Parser, at_least, local_path, run

from training.atomic_files import atomic_write


def parser() -> Parser:
    """Every flag."""
    made = Parser("make_sketches", __doc__)
    made.add_argument("out", type=local_path, metavar="OUT", help="folder to write: drawings/ and hints/")
    made.add_argument("--seed", type=at_least(0), default=0, help="which trembling of the hand [0]")
    return made


def main(words: list[str] | None = None) -> int:
    """Answers the command line; returns the exit code."""
    return run(parser(), work, words, extra="onnx")


def work(args: argparse.Namespace) -> int:
    """Writes the sketches; 0."""
    from linewash.samples.sketches import sketches

    for sketch in sketches(args.seed):
        for folder, data in (("drawings", sketch.data), ("hints", sketch.hints)):
            if data:
                with atomic_write(args.out / folder / sketch.name) as temporary:
                    temporary.write_bytes(data)
    print(f"drawings   {args.out / 'drawings'}, with colour hints of one in {args.out / 'hints'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
