"""Draws the sketches: hand-like drawings made by code, in every way that a drawing reaches a computer.

python scripts/make_sketches.py OUT [--seed 0]
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from coloring.sketches import sketches

from training.atomic import replacing


def main() -> int:
    """Writes them; gives the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write: drawings/ and hints/")
    parser.add_argument("--seed", type=int, default=0, help="which trembling of the hand [0]")
    args = parser.parse_args()
    if args.seed < 0:
        parser.error("--seed must be 0 or above")
    try:
        for sketch in sketches(args.seed):
            with replacing(args.out / "drawings" / sketch.name) as temporary:
                temporary.write_bytes(sketch.data)
            if sketch.hints:
                with replacing(args.out / "hints" / sketch.name) as temporary:
                    temporary.write_bytes(sketch.hints)
    except OSError as e:
        print(f"make_sketches: {args.out} could not be written: {e.strerror or e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(f"drawings   {args.out / 'drawings'}, with colour hints of one in {args.out / 'hints'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
