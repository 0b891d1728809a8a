"""Measures how planning time and memory of the launcher grow with the number of images.

    python scripts/bench/planning.py --millions 0.25 1 2

The images are synthetic, with keys like ImageNet's in a thousand classes. The job's own functions hash, sort
and split them and write the shard lists; no pixels are read. The memory is the peak of the whole process,
imports included. Each size runs in a process of its own, because a peak never falls.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from bench.datasets import synthetic_images
from bench.harness import benchmark_parser, run_variant, write_results
from bench.processes import own_peak_mb
from linewash.arguments import Parser, at_least, positive, run


def measure_plan(count: int) -> dict[str, float]:
    """Plans a job for `count` images. Returns the time, the peak memory of the process, and the shards."""
    from preprocess.plan import Sharding, make_plan

    with tempfile.TemporaryDirectory(prefix="linewash-bench-") as output:
        started = time.monotonic()
        shards = make_plan(synthetic_images(count), Sharding(), output)
        seconds = time.monotonic() - started
    return {
        "images": count,
        "seconds": seconds,
        "process_peak_mb": own_peak_mb(),
        "shards": len(shards),
    }


def table_lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yields the lines of the table."""
    yield f"{'images':>12}{'shards':>9}{'seconds':>9}{'per million':>13}{'peak MB':>9}"
    for row in rows:
        per_million, peak = row["seconds"] / row["images"] * 1e6, row["process_peak_mb"]
        yield f"{row['images']:12,}{row['shards']:9,}{row['seconds']:9.1f}{per_million:13.1f}{peak:9.0f}"
    small, large = rows[0], rows[-1]
    if large["images"] > small["images"]:
        growth = (
            (large["process_peak_mb"] - small["process_peak_mb"]) / (large["images"] - small["images"]) * 1e6
        )
        yield f"each further million: {growth:.1f} MB"


def make_parser() -> Parser:
    """Returns the parser of the command line."""
    parser = benchmark_parser("bench/planning", __doc__)
    add = parser.add_argument
    add(
        "--millions", type=positive, nargs="+", default=[0.25, 0.5, 1, 2],
        help="millions of images to plan for [0.25 0.5 1 2]",
    )  # fmt: skip
    add("--count", type=at_least(1), help=argparse.SUPPRESS)  # set in the process that measures one size
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    return run(make_parser(), work, argv, extra="preprocess")


def work(args: argparse.Namespace) -> int:
    """Measures all sizes, prints the table and writes JSON if --json is given. Returns 0."""
    if args.variant:
        print(json.dumps(measure_plan(args.count)))
        return 0
    rows = []
    for count in (round(millions * 1e6) for millions in sorted(args.millions)):
        rows.append(run_variant(__file__, "plan", "--count", max(1, count)))
        print(rows[-1], file=sys.stderr, flush=True)
    write_results(table_lines(rows), rows, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
