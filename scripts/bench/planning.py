"""How the launcher's time and memory grow with the number of images: the plan alone, no pixels.

    python scripts/bench/planning.py --millions 0.25 1 2

The images are made up (ImageNet-like keys in a thousand classes); everything else is what the job does with a
listing: hashing, sorting, splitting, and writing each shard's list. Each size runs in a process of its own,
since peak memory never falls.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from bench.harness import in_own_process, options, tell
from linewash.coloring.arguments import Parser, at_least, positive, run

if TYPE_CHECKING:
    from preprocess.sources import Image

CLASSES = 1000


def made_up(count: int) -> Iterator[Image]:
    """Images in a thousand class tars, as an index of them would give."""
    from preprocess.sources import Image

    for i in range(count):
        name, place = f"n{i % CLASSES:08d}", i // CLASSES
        yield Image(
            f"{name}/{name}_{place}.JPEG", f"gs://bucket/imagenet/{name}.tar", place * 110_000, 110_000
        )


def plan(count: int) -> dict[str, float]:
    """Plans for `count` images; seconds, peak MB, shards."""
    from preprocess.plan import Sharding, make_plan

    before = peak_mb()
    with tempfile.TemporaryDirectory(prefix="linewash-bench-") as output:
        started = time.monotonic()
        shards = make_plan(made_up(count), Sharding(), output)
        seconds = time.monotonic() - started
    return {"images": count, "seconds": seconds, "mb": peak_mb(), "mb_before": before, "shards": len(shards)}


def peak_mb() -> float:
    """The largest resident size of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def show(rows: list[dict[str, Any]]) -> Iterator[str]:
    """The table's lines."""
    yield f"{'images':>12}{'shards':>9}{'seconds':>9}{'per million':>13}{'peak MB':>9}"
    for row in rows:
        per_million = row["seconds"] / row["images"] * 1e6
        yield f"{row['images']:12,}{row['shards']:9,}{row['seconds']:9.1f}{per_million:13.1f}{row['mb']:9.0f}"
    small, large = rows[0], rows[-1]
    if large["images"] > small["images"]:
        growth = (large["mb"] - small["mb"]) / (large["images"] - small["images"]) * 1e6
        yield f"each further million: {growth:.1f} MB"


def parser() -> Parser:
    """Every flag."""
    made = options("bench/planning", __doc__)
    made.add_argument("--millions", type=positive, nargs="+", default=[0.25, 0.5, 1, 2], help="sizes to plan")
    made.add_argument(
        "--count", type=at_least(1), help=argparse.SUPPRESS
    )  # one size, as a process of its own
    return made


def main(words: list[str] | None = None) -> int:
    """Answers the command line; returns the exit code."""
    return run(parser(), work, words, extra="preprocess")


def work(args: argparse.Namespace) -> int:
    """Prints the table; writes JSON with --json; 0."""
    if args.way:
        print(json.dumps(plan(args.count)))
        return 0
    rows = []
    for count in (round(millions * 1e6) for millions in sorted(args.millions)):
        rows.append(in_own_process(__file__, "plan", "--count", max(1, count)))
        print(rows[-1], file=sys.stderr, flush=True)
    tell(show(rows), rows, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
