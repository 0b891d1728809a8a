"""Writes the results that scripts/bench.sh collects to one bench.json, and as Markdown tables to bench.md.

    python scripts/bench/report.py out/bench

It reads DIRECTORY/NAME.json of each benchmark that was run. A ratio above 1 means that linewash is faster.
Below each table, the report lists the variants that linewash does not beat, or the targets that it misses.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from linewash.arguments import Parser, local_path, run

from preprocess.cores import available_cores
from training.atomic_files import atomic_write
from training.errors import UsageError, WorkError

PACKAGES = (
    "linewash", "tensorflow", "keras", "numpy", "opencv-python-headless", "simplejpeg", "apache-beam",
    "onnxruntime", "litdata", "nvidia-dali-cuda120", "mosaicml-streaming", "webdataset", "grain",
)  # fmt: skip


class Table(NamedTuple):
    """One table of the report.

    slower: names of the variants that linewash does not beat, with the ratio or the scores.
    verdict: the words before them.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    slower: list[str]
    verdict: str = "Not faster than"


def preprocess_table(results: Any) -> Table:
    """Returns the table of the Beam job."""
    linewash = results["variants"]["linewash"]
    names = {
        "linewash": "linewash",
        "pool": "a multiprocessing.Pool that discards its results",
        "canonical": "the pipeline of Beam's examples",
    }
    rows, slower = [], []
    for variant, row in results["variants"].items():
        ratio = linewash["images_per_s"] / row["images_per_s"]
        rows.append([names[variant], f"{row['images_per_s']:,.0f}", f"{row['images_per_s_inside']:,.0f}"])
        rows[-1] += [f"{row['launcher_mb']:,.0f}", f"{row['worker_mb']:,.0f}", format_ratio(ratio)]
        slower += [f"{names[variant]}: {format_ratio(ratio)}"] if ratio < 1 else []
    columns = ["", "images/s", "without the start", "launcher MB", "largest worker MB", "linewash is"]
    return Table("Preprocessing: images to shards, once", columns, rows, slower)


def input_table(results: dict[str, Any]) -> Table:
    """Returns the table of the trainer's input and of other loaders."""
    linewash_rate = results["linewash"]["images_per_s"]
    rows, slower = [], []
    for name, row in results.items():
        if "missing" in row:
            rows.append([name, row["missing"], "", ""])
            continue
        rate = row["images_per_s"]
        ratio = linewash_rate / rate
        rate_text = f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
        rows.append([name, rate_text, f"{row['cpu_us']:,.1f}", format_ratio(ratio)])
        slower += [f"{name}: {format_ratio(ratio)}"] if ratio < 1 and "linewash" not in name else []
    columns = ["", "images/s", "CPU µs per image", "linewash is"]
    return Table("Input: shards to batches, every epoch", columns, rows, slower)


def step_table(results: list[dict[str, Any]]) -> Table:
    """Returns the table of training steps."""
    rows, slower = [], []
    for row in results:
        linewash = next(r for r in results if r["model"] == row["model"] and r["variant"] == "linewash")
        ratio, name = row["step_ms"] / linewash["step_ms"], f"{row['model']}: {row['variant']}"
        rows.append([name, f"{row['step_ms']:,.0f}", f"{row['images_per_s']:,.1f}", f"{row['peak_mb']:,.0f}"])
        rows[-1].append(format_ratio(ratio))
        slower += [f"{name}: {format_ratio(ratio)}"] if ratio < 1 else []
    return Table("A training step", ["", "ms", "images/s", "peak MB", "linewash is"], rows, slower)


def inference_table(results: dict[str, Any]) -> Table:
    """Returns the table of the network alone and of whole commands, for one drawing."""
    linewash = results["network_ms"]["linewash (ONNX)"]
    rows, slower = [], []
    for name, row in results["network_ms"].items():
        ratios = [row[side] / linewash[side] for side in linewash]
        rows.append([name, *(f"{row[side]:.1f}" for side in linewash), ", ".join(map(format_ratio, ratios))])
        slower += [f"{name}: {format_ratio(min(ratios))}"] if min(ratios) < 1 else []
    for name, seconds in results["command_s"].items():
        rows.append([f"whole command: {name}", f"{seconds * 1e3:,.0f}", "", "", ""])
    columns = ["", *(f"ms at {side} px" for side in linewash), "linewash is"]
    return Table("Colouring one drawing", columns, rows, slower)


def epochs_table(results: dict[str, Any]) -> Table:
    """Returns the table of the time to N epochs."""
    rows, slower = [], []
    num_epochs = [int(key.split("_")[1]) for key in results["rows"][0] if re.fullmatch(r"epochs_\d+_s", key)]
    for row in results["rows"]:
        seconds = [row[f"epochs_{n}_s"] for n in num_epochs]
        name = f"{row['variant']}, {'full-scale JPEGs' if row['decode'] == 'full' else 'reduced scale'}"
        rows.append([name, f"{row['once_s']:.1f}", *(f"{s:,.1f}" for s in seconds), ""])
        if row["variant"] == "shards":
            continue
        rows[-1][-1] = str(row["break_even"] or "never")
        if row["break_even"] != 1:
            slower.append(f"{name}, {'before epoch ' + rows[-1][-1] if row['break_even'] else 'ever'}")
    network = results["network"] or "the input alone"
    title = f"From images to N epochs: {results['rows'][0]['images']:,} images, {network}"
    columns = [
        "",
        "once s",
        *(f"{n} epoch{'s' if n > 1 else ''}, s" for n in num_epochs),
        "shards no slower from epoch",
    ]
    return Table(title, columns, rows, slower)


def coloring_table(results: dict[str, Any]) -> Table:
    """Returns the table of colouring by hints: drawings with a dab on the background, or the trivial ones."""
    means = [row for row in results["means"] if row["background_dab"]]
    trivial = [
        row | {"method": f"{drawing['name']}: {row['method']}"}
        for drawing in results["trivial"]
        for row in drawing["rows"]
        if row["background_dab"]
    ]
    rows = [
        [
            row["method"],
            str(row["dabs"]),
            *("" if row[name] is None else f"{row[name]:.2f}" for name in ("all", "object", "background")),
            *("" if row[name] is None else f"{row[name]:.3f}" for name in ("exact", "filled")),
        ]
        for row in [*means, *trivial]
    ]
    missed = [
        f"{target['target']} {target['bound']:.4g}: {target['value']:.4g}"
        for target in results["targets"]
        if not target["met"]
    ]
    title = f"Colouring by hints: {len(results['drawings'])} drawings of OpenMoji, ΔE off the lines"
    columns = ["", "dabs on the object", "all", "object", "background", "exact", "filled"]
    return Table(title, columns, rows, missed, "Missed targets:")


TABLES: dict[str, Callable[[Any], Table]] = {
    "preprocess": preprocess_table,
    "input": input_table,
    "step": step_table,
    "inference": inference_table,
    "coloring": coloring_table,
    "epochs": epochs_table,
    "epochs_training": epochs_table,
}


def format_ratio(ratio: float) -> str:
    """Formats a ratio: 1.37×, 24×, 1,500×."""
    return f"{ratio:.2f}×" if ratio < 10 else f"{ratio:,.0f}×"


def describe_machine() -> dict[str, Any]:
    """Returns the CPU, its cores, the memory and the operating system."""
    name = re.search(r"model name\s*: (.*)", _read("/proc/cpuinfo"))
    memory = re.search(r"MemTotal:\s+(\d+)", _read("/proc/meminfo"))
    return {
        "cpu": name[1] if name else platform.processor() or platform.machine(),
        "cores": available_cores(),
        "memory_gb": round(int(memory[1]) / 1e6) if memory else None,
        "system": f"{platform.system()} {platform.release()}",
    }


def installed_versions() -> dict[str, str]:
    """Returns the versions of Python and of those `PACKAGES` that are installed."""
    installed = {name.lower().replace("_", "-") for name in metadata.packages_distributions()}
    installed |= {d.metadata["Name"].lower().replace("_", "-") for d in metadata.distributions()}
    packages = {name: metadata.version(name) for name in PACKAGES if name in installed}
    return {"python": platform.python_version(), **packages}


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def markdown(tables: list[Table], machine: dict[str, Any], versions: dict[str, str]) -> str:
    """Returns the Markdown page."""
    cores = f"{machine['cores']} core{'s' if machine['cores'] != 1 else ''}"
    memory = f", {machine['memory_gb']} GB" if machine["memory_gb"] else ""
    lines = [
        "# Benchmarks of linewash",
        "",
        f"On {cores} of {machine['cpu']}{memory}, {machine['system']}; "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + ". Ratios above 1 mean that linewash is faster.",
    ]
    for table in tables:
        lines += ["", f"## {table.title}", "", _row(table.columns)]
        lines += [_row(["---"] * len(table.columns)), *map(_row, table.rows)]
        if table.slower:
            lines += ["", f"{table.verdict} " + "; ".join(table.slower) + "."]
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def make_parser() -> Parser:
    """Returns the parser of the command line."""
    parser = Parser("bench/report", __doc__)
    parser.add_argument("directory", type=local_path, help="folder with the results")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    return run(make_parser(), work, argv, extra="all")


def work(args: argparse.Namespace) -> int:
    """Writes bench.json and bench.md. Returns 0.

    Raises:
      UsageError: the folder does not exist.
      WorkError: it has no results, or they are damaged.
    """
    if not args.directory.is_dir():
        raise UsageError(f"{args.directory} is not a folder: run ./scripts/bench.sh IMAGES first")
    paths = {name: args.directory / f"{name}.json" for name in TABLES}
    results, tables = {}, []
    for name, path in paths.items():
        if not path.exists():
            continue
        try:
            results[name] = json.loads(path.read_text())
            tables.append(TABLES[name](results[name]))
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, StopIteration):
            raise WorkError(
                f"{path} does not hold results of this version of bench/{name.split('_')[0]}.py: run it again"
            ) from None
    if not results:
        raise WorkError(f"no results in {args.directory}: run ./scripts/bench.sh IMAGES first")
    report: dict[str, Any] = {"machine": describe_machine(), "versions": installed_versions()}
    report["results"] = results
    report["tables"] = [table._asdict() for table in tables]
    for name, text in (
        ("bench.json", json.dumps(report, indent=2) + "\n"),
        ("bench.md", markdown(tables, report["machine"], report["versions"])),
    ):
        with atomic_write(args.directory / name) as temporary:
            temporary.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
