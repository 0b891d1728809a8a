"""Compares the speed of the trainer's input with other loaders and with the input of the article.

    python scripts/bench/input.py                    10,000 random examples of 128 px
    python scripts/bench/input.py --dataset DATASET  the training split of a dataset

Every loader delivers the same examples in shuffled batches of packed edges and labels. Each loader is
measured with each number of workers, in a process of its own on the same cores: one epoch to warm up, then
--epochs more. The table shows the best number of workers. "linewash, skipping" is the way to the last batch
of an epoch, for a run that resumes there. Install the loaders with pip install --editable '.[bench]'; the
table says which are missing. The two loaders "article" have no shards: they compute edges and labels from
images in threads, as the article's code does, except that "article, by table" posterizes with linewash's
look-up tables.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from bench.datasets import write_random_dataset
from bench.harness import VariantFailedError, benchmark_parser, run_variant, write_results
from bench.loaders import LOADERS, BenchmarkDataset, Loader
from bench.processes import own_cpu_seconds
from linewash.arguments import Parser, at_least, local_path, run

from training.errors import UsageError


def measure_loader(loader: Loader, data: BenchmarkDataset, workers: int, epochs: int) -> dict[str, float]:
    """Returns images per second and CPU time per image in µs: medians over `epochs`, after one to warm up."""
    epoch = loader.open(data, workers)
    rates, costs = [], []
    for number in range(epochs + 1):
        started, cpu_before, count = time.perf_counter(), own_cpu_seconds(), 0
        for batch in epoch(number):
            count += len(batch[0])
        rates.append(count / (time.perf_counter() - started))
        costs.append((own_cpu_seconds() - cpu_before) / count * 1e6)
    return {"images_per_s": statistics.median(rates[1:]), "cpu_us": statistics.median(costs[1:])}


def compare_loaders(root: Path, folder: Path, args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Returns the figures of each loader with its best number of workers, or why there are none."""
    table: dict[str, dict[str, Any]] = {}
    for name, loader in LOADERS.items():
        if args.only and name.split(",")[0].split()[-1].lower() not in args.only:
            continue
        if not _is_installed(loader.module):
            table[name] = {"missing": f"{loader.module} is not installed"}
            continue
        rows = []
        for workers in loader.num_workers:
            options = ["--workers", workers, "--folder", folder, "--dataset", root, "--cores", args.cores]
            options += ["--batch-size", args.batch_size, "--epochs", args.epochs]
            try:
                rows.append({"workers": workers, **run_variant(__file__, name, *options)})
            except VariantFailedError as failed:
                table[name] = {"missing": str(failed).splitlines()[-1]}
        if rows:
            table[name] = max(rows, key=lambda row: row["images_per_s"])
        print(f"{name}: {table[name]}", file=sys.stderr, flush=True)
    return table


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the parent package of a dotted name
        return False


def table_lines(table: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yields the lines of the table. The ratio is linewash's speed to the loader's."""
    linewash_rate = table.get("linewash", {}).get("images_per_s", float("nan"))
    yield f"{'loader':22}{'images/s':>10}{'linewash is':>13}{'CPU µs/image':>14}{'workers':>9}"
    for name, row in table.items():
        if "missing" in row:
            yield f"{name:22}{'missing':>10}  {row['missing']}"
            continue
        rate = row["images_per_s"]
        yield f"{name:22}{rate:10,.0f}{linewash_rate / rate:12.1f}×{row['cpu_us']:14.1f}{row['workers']:9d}"


def make_parser() -> Parser:
    """Returns the parser of the command line."""
    parser = benchmark_parser("bench/input", __doc__)
    add = parser.add_argument
    add("--dataset", type=local_path, help="dataset directory [random examples]")
    add("--count", type=at_least(1), default=10_000, help="number of random examples [10000]")
    add("--line-styles", type=at_least(1), default=1, metavar="N", help="line styles of random examples [1]")
    add("--batch-size", type=at_least(1), default=64, help="examples per batch [64]")
    add("--epochs", type=at_least(1), default=5, help="timed epochs per number of workers [5]")
    add("--cores", type=at_least(1), default=2, help="CPU cores that each loader may use [2]")
    add(
        "--only",
        nargs="*",
        help="loaders to measure, by the last word before any comma, in lower case: linewash dali [all]",
    )
    for hidden in ("--workers", "--folder"):  # set in the process that measures one loader
        add(hidden, help=argparse.SUPPRESS)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    return run(make_parser(), work, argv, extra="all")


def work(args: argparse.Namespace) -> int:
    """Measures all loaders, prints the table and writes JSON if --json is given. Returns 0.

    Raises:
      UsageError: --dataset is not a dataset.
    """
    from tfrecords_schema import Manifest, SchemaError

    if args.variant:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.cores])
        data = BenchmarkDataset(args.dataset, Manifest.load(args.dataset), Path(args.folder), args.batch_size)
        print(json.dumps(measure_loader(LOADERS[args.variant], data, int(args.workers), args.epochs)))
        return 0
    if args.dataset:
        try:
            Manifest.load(args.dataset)
        except SchemaError as e:
            raise UsageError(str(e)) from None
    with tempfile.TemporaryDirectory(prefix="linewash-bench-") as temporary:
        folder, root = Path(temporary), args.dataset or Path(temporary, "dataset")
        if not args.dataset:
            write_random_dataset(root, args.count, args.line_styles)
        table = compare_loaders(root, folder, args)
    print(f"batches of {args.batch_size}, {args.cores} cores, medians of {args.epochs} epochs")
    write_results(table_lines(table), table, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
