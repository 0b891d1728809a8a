"""How the launcher's time and memory grow with the number of images: the plan alone, no pixels.

    python scripts/bench_listing.py --millions 0.25 1 2

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
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from measuring import in_own_process, options, tell

from preprocess.plan import Layout, make_plan
from preprocess.sources import Image

CLASSES = 1000


def made_up(count: int) -> Iterator[Image]:
    """Images in a thousand class tars, as an index of them would give."""
    for i in range(count):
        name, place = f"n{i % CLASSES:08d}", i // CLASSES
        yield Image(
            f"{name}/{name}_{place}.JPEG", f"gs://bucket/imagenet/{name}.tar", place * 110_000, 110_000
        )


def plan(count: int) -> dict[str, float]:
    """Plans for `count` images; seconds, peak MB, shards."""
    before = peak_mb()
    with tempfile.TemporaryDirectory(prefix="linewash-bench-") as output:
        started = time.monotonic()
        shards = make_plan(made_up(count), Layout(), output)
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


def main() -> None:
    """Prints the table; writes JSON with --json."""
    parser = options(__doc__)
    parser.add_argument("--millions", type=float, nargs="+", default=[0.25, 0.5, 1, 2], help="sizes to plan")
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)  # one size, as a process of its own
    args = parser.parse_args()
    if args.way:
        print(json.dumps(plan(args.count)))
        return
    rows = []
    for count in (round(millions * 1e6) for millions in sorted(args.millions)):
        rows.append(in_own_process(__file__, "plan", "--count", count))
        print(rows[-1], file=sys.stderr, flush=True)
    tell(show(rows), rows, args.json)


if __name__ == "__main__":
    main()
