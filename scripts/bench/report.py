"""Puts the figures that scripts/bench.sh collects into one bench.json, and into Markdown tables, bench.md.

    python scripts/bench/report.py out/bench

What comes in: DIRECTORY/NAME.json of each benchmark that was run. A ratio above 1 means that linewash is the
faster one; what it is not faster than is listed by itself.
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

from linewash.coloring.arguments import Parser, local_path, run

from preprocess.cores import available_cores
from training.atomic_files import atomic_write
from training.errors import UsageError, WorkError

PACKAGES = (
    "linewash", "tensorflow", "keras", "numpy", "opencv-python-headless", "simplejpeg", "apache-beam",
    "onnxruntime", "litdata", "nvidia-dali-cuda120", "mosaicml-streaming", "webdataset", "grain",
)  # fmt: skip


class Table(NamedTuple):
    """What was measured, its columns, and its rows; `slower` names rows that linewash does not beat."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    slower: list[str]


def preprocess(found: Any) -> Table:
    """The Beam job, as whole processes."""
    ours = found["ways"]["linewash"]
    names = {
        "linewash": "linewash",
        "pool": "a bare multiprocessing.Pool, results thrown away",
        "canonical": "Beam as its examples have it",
    }
    rows, slower = [], []
    for way, row in found["ways"].items():
        ratio = ours["images_per_s"] / row["images_per_s"]
        rows.append([names[way], f"{row['images_per_s']:,.0f}", f"{row['images_per_s_inside']:,.0f}"])
        rows[-1] += [f"{row['launcher_mb']:,.0f}", f"{row['worker_mb']:,.0f}", times(ratio)]
        slower += [f"{names[way]}: {times(ratio)}"] if ratio < 1 else []
    columns = ["", "images/s", "without the start", "launcher MB", "largest worker MB", "linewash is"]
    return Table("Preprocessing: photographs to shards, once", columns, rows, slower)


def listed(found: dict[str, Any]) -> Table:
    """The input of the trainer, beside other loaders."""
    ours = found["linewash"]["images_per_s"]
    rows, slower = [], []
    for name, row in found.items():
        if "missing" in row:
            rows.append([name, row["missing"], "", ""])
            continue
        ratio = ours / row["images_per_s"]
        rate = row["images_per_s"]
        shown = f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
        rows.append([name, shown, f"{row['cpu_us']:,.1f}", times(ratio)])
        slower += [f"{name}: {times(ratio)}"] if ratio < 1 else []
    columns = ["", "images/s", "CPU µs an image", "linewash is"]
    return Table("Input: shards to batches, every epoch", columns, rows, slower)


def step(found: list[dict[str, Any]]) -> Table:
    """A training step, beside Keras's."""
    rows, slower = [], []
    for row in found:
        ours = next(r for r in found if r["model"] == row["model"] and r["way"] == "linewash")
        ratio, name = row["step_ms"] / ours["step_ms"], f"{row['model']}: {row['way']}"
        rows.append([name, f"{row['step_ms']:,.0f}", f"{row['images_per_s']:,.1f}", f"{row['peak_mb']:,.0f}"])
        rows[-1].append(times(ratio))
        slower += [f"{name}: {times(ratio)}"] if ratio < 1 else []
    return Table("A training step", ["", "ms", "images/s", "peak MB", "linewash is"], rows, slower)


def inference(found: dict[str, Any]) -> Table:
    """The network alone, for one drawing."""
    ours = found["network_ms"]["linewash (ONNX)"]
    rows, slower = [], []
    for name, row in found["network_ms"].items():
        ratios = [row[side] / ours[side] for side in ours]
        rows.append([name, *(f"{row[side]:.1f}" for side in ours), ", ".join(map(times, ratios))])
        slower += [f"{name}: {times(min(ratios))}"] if min(ratios) < 1 else []
    for name, seconds in found["command_s"].items():
        rows.append([f"whole command: {name}", f"{seconds * 1e3:,.0f}", "", "", ""])
    columns = ["", *(f"ms at {side} px" for side in ours), "linewash is"]
    return Table("Colouring one drawing", columns, rows, slower)


def epochs(found: dict[str, Any]) -> Table:
    """Shards once, and then N epochs, beside drawing every epoch."""
    rows, slower = [], []
    numbers = [int(key.split("_")[1]) for key in found["rows"][0] if re.fullmatch(r"epochs_\d+_s", key)]
    for row in found["rows"]:
        seconds = [row[f"epochs_{number}_s"] for number in numbers]
        name = f"{row['way']}, {'JPEGs in full' if row['decode'] == 'full' else 'at a reduced scale'}"
        rows.append([name, f"{row['once_s']:.1f}", *(f"{s:,.1f}" for s in seconds), ""])
        if row["way"] == "shards":
            continue
        rows[-1][-1] = str(row["break_even"] or "never")
        if row["break_even"] != 1:
            slower.append(f"{name}, {'before epoch ' + rows[-1][-1] if row['break_even'] else 'ever'}")
    network = found["network"] or "the input alone"
    title = f"From photographs to N epochs: {found['rows'][0]['images']:,} photographs, {network}"
    columns = ["", "once s", *(f"{n} epochs s" for n in numbers), "shards no slower from epoch"]
    return Table(title.replace("1 epochs", "1 epoch"), columns, rows, slower)


TABLES: dict[str, Callable[[Any], Table]] = {
    "preprocess": preprocess,
    "input": listed,
    "step": step,
    "inference": inference,
    "epochs": epochs,
    "epochs_training": epochs,
}


def times(ratio: float) -> str:
    """A ratio as it is read: 1.37×, 24×, 1,500×."""
    return f"{ratio:.2f}×" if ratio < 10 else f"{ratio:,.0f}×"


def machine() -> dict[str, Any]:
    """Where it was measured."""
    name = re.search(r"model name\s*: (.*)", _read("/proc/cpuinfo"))
    memory = re.search(r"MemTotal:\s+(\d+)", _read("/proc/meminfo"))
    return {
        "cpu": name[1] if name else platform.processor() or platform.machine(),
        "cores": available_cores(),
        "memory_gb": round(int(memory[1]) / 1e6) if memory else None,
        "system": f"{platform.system()} {platform.release()}",
    }


def versions() -> dict[str, str]:
    """Of Python and of the packages that are installed."""
    installed = {name.lower().replace("_", "-") for name in metadata.packages_distributions()}
    installed |= {d.metadata["Name"].lower().replace("_", "-") for d in metadata.distributions()}
    found = {name: metadata.version(name) for name in PACKAGES if name in installed}
    return {"python": platform.python_version(), **found}


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def markdown(tables: list[Table], where: dict[str, Any], what: dict[str, str]) -> str:
    """The page."""
    cores = f"{where['cores']} core{'s' if where['cores'] != 1 else ''}"
    memory = f", {where['memory_gb']} GB" if where["memory_gb"] else ""
    lines = [
        "# linewash, measured",
        "",
        f"On {cores} of {where['cpu']}{memory}, {where['system']}; "
        + ", ".join(f"{name} {version}" for name, version in what.items())
        + ". Ratios above 1 mean that linewash is the faster one.",
    ]
    for table in tables:
        lines += ["", f"## {table.title}", "", _row(table.columns)]
        lines += [_row(["---"] * len(table.columns)), *map(_row, table.rows)]
        if table.slower:
            lines += ["", "Not faster than " + "; ".join(table.slower) + "."]
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def parser() -> Parser:
    """Every flag."""
    made = Parser("bench/report", __doc__)
    made.add_argument("directory", type=local_path, help="where the figures are")
    return made


def main(words: list[str] | None = None) -> int:
    """Answers the command line; returns the exit code."""
    return run(parser(), work, words, extra="all")


def work(args: argparse.Namespace) -> int:
    """Writes both files; 0.

    Raises:
      UsageError: there is no such folder.
      WorkError: there are no figures in it, or they are damaged.
    """
    if not args.directory.is_dir():
        raise UsageError(f"{args.directory} is not a folder: run ./scripts/bench.sh PHOTOS first")
    paths = {name: args.directory / f"{name}.json" for name in TABLES}
    found, tables = {}, []
    for name, path in paths.items():
        if not path.exists():
            continue
        try:
            found[name] = json.loads(path.read_text())
            tables.append(TABLES[name](found[name]))
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, StopIteration):
            raise WorkError(
                f"{path} does not hold the figures of bench/{name}.py: measure them again"
            ) from None
    if not found:
        raise WorkError(f"no figures in {args.directory}: run ./scripts/bench.sh PHOTOS first")
    where, what = machine(), versions()
    report: dict[str, Any] = {"machine": where, "versions": what, "results": found}
    report["tables"] = [table._asdict() for table in tables]
    for name, text in (
        ("bench.json", json.dumps(report, indent=2) + "\n"),
        ("bench.md", markdown(tables, where, what)),
    ):
        with atomic_write(args.directory / name) as temporary:
            temporary.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
