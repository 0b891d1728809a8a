"""How fast the Beam job is beside a bare multiprocessing.Pool over the same per-image function.

    python scripts/bench_preprocess.py --images PHOTOS --count 8000

The photographs are copied under new names until there are `count`. Both are timed as whole processes, from
start to exit, in turn, and the peak memory of the launcher and of each worker is read from the kernel.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from preprocess.decode import Rejected  # noqa: E402
from preprocess.recipe import DEFAULT  # noqa: E402
from preprocess.transform import transform  # noqa: E402


def convert(path: str) -> bool:
    """Reads and transforms one image; whether it was kept."""
    try:
        transform(Path(path).read_bytes(), DEFAULT)
    except Rejected:
        return False
    return True


def pool_loop(folder: str) -> None:
    """The rival: every image of `folder` through a Pool of all cores, results thrown away."""
    import cv2

    paths = [str(path) for path in sorted(Path(folder).rglob("*.JPEG"))]
    with multiprocessing.Pool(initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        kept = sum(pool.imap_unordered(convert, paths, chunksize=32))
    print(f"{kept} of {len(paths)} kept")


def copies(images: Path, folder: Path, count: int) -> None:
    """Fills `folder` with `count` copies of the photographs in `images`, in class folders."""
    found = [path for path in sorted(images.rglob("*")) if path.suffix.lower() in (".jpeg", ".jpg")]
    if not found:
        sys.exit(f"bench_preprocess: no JPEG below {images}")
    for i in range(count):
        path = found[i % len(found)]
        target = folder / path.parent.name / f"{path.stem}_{i // len(found):04d}.JPEG"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def measure(command: list[str]) -> dict[str, float]:
    """Runs a command to its end: wall seconds, and peak MB of it and of its largest descendant."""
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    peaks: dict[int, float] = {}
    while process.poll() is None:
        for pid in [process.pid, *descendants(process.pid)]:
            peaks[pid] = max(peaks.get(pid, 0), peak_mb(pid))
        time.sleep(0.05)
    wall = time.monotonic() - started
    if process.returncode:
        sys.exit(f"bench_preprocess: {command} failed")
    output = process.stdout.read() if process.stdout else ""
    inside = re.search(r"in ([\d.]+) s", output)
    workers = [mb for pid, mb in peaks.items() if pid != process.pid]
    return {
        "wall_s": wall,
        "inside_s": float(inside[1]) if inside else wall,
        "launcher_mb": peaks[process.pid],
        "worker_mb": max(workers, default=0),
    }


def descendants(pid: int) -> Iterator[int]:
    """All living children of a process, and theirs."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for task in Path(f"/proc/{pid}/task").iterdir():
            children += (task / "children").read_text().split()
    except OSError:
        return
    for child in {int(c) for c in children}:
        yield child
        yield from descendants(child)


def peak_mb(pid: int) -> float:
    """The largest resident size that a process has had, MB."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    peak = re.search(r"VmHWM:\s+(\d+)", status)
    return int(peak[1]) / 1024 if peak else 0


def compare(folder: Path, count: int, runs: int) -> dict[str, dict[str, float]]:
    """Medians over `runs` of both ways, run in turn."""
    rows: dict[str, list[dict[str, float]]] = {"pool": [], "linewash": []}
    for _ in range(runs):
        rows["pool"].append(measure([sys.executable, __file__, "--pool", str(folder)]))
        output = folder.parent / "dataset"
        job = [sys.executable, "-m", "preprocess", "--input", str(folder), "--output", str(output)]
        rows["linewash"].append(measure(job))
        shutil.rmtree(output)
    table = {
        way: {k: statistics.median(r[k] for r in found) for k in found[0]} for way, found in rows.items()
    }
    for figures in table.values():
        figures["images_per_s"] = count / figures["wall_s"]
        figures["images_per_s_inside"] = count / figures["inside_s"]
    return table


def main() -> None:
    """Prints the table; writes JSON with --json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, help="a folder of photographs")
    parser.add_argument("--count", type=int, default=8000, help="how many to convert [8000]")
    parser.add_argument("--runs", type=int, default=3, help="of each way [3]")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--pool", help=argparse.SUPPRESS)  # the rival, as a process of its own
    args = parser.parse_args()
    if args.pool:
        pool_loop(args.pool)
        return
    if not args.images:
        parser.error("--images FOLDER is needed")
    with tempfile.TemporaryDirectory(prefix="linewash-bench-") as temporary:
        folder = Path(temporary, "images")
        copies(args.images, folder, args.count)
        table = compare(folder, args.count, args.runs)
    print(f"{args.count} images, {os.cpu_count()} cores, medians of {args.runs} runs")
    print(f"{'':10}{'images/s':>10}{'without start':>15}{'launcher MB':>13}{'worker MB':>11}")
    for way, row in table.items():
        print(
            f"{way:10}{row['images_per_s']:10.0f}{row['images_per_s_inside']:15.0f}"
            f"{row['launcher_mb']:13.0f}{row['worker_mb']:11.0f}"
        )
    for kind in ("images_per_s", "images_per_s_inside"):
        print(f"linewash / pool, {kind}: {table['linewash'][kind] / table['pool'][kind]:.2f}")
    if args.json:
        args.json.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
