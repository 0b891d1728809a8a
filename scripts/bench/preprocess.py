"""How fast the Beam job is beside what else one could write.

    python scripts/bench/preprocess.py --images PHOTOS --count 8000

Its rivals: a bare multiprocessing.Pool over the same per-image function, whose results it throws away, and
the pipeline that Beam's own examples would lead to (ReadMatches, Reshuffle, Map, WriteToTFRecord, with cv2).
The photographs are linked under new names until there are `count`. All are timed as whole processes, from
start to exit, in turn, and the peak memory of the launcher and of its largest descendant is read from the
kernel. Then the stages of one image are timed, as CPU time in this process.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from bench.harness import options, tell
from linewash.coloring.arguments import Parser, at_least, local_path, run
from photographs import photographs

from preprocess.cores import available_cores
from training.errors import UsageError, WorkError

WAYS = ("pool", "linewash", "canonical")
Table = dict[str, dict[str, float]]


def convert(path: str) -> bool:
    """Reads and transforms one image; whether it was kept."""
    return kept(Path(path).read_bytes())


def pool_loop(folder: Path) -> None:
    """The rival: every image of `folder` through a Pool of all cores, results thrown away."""
    import cv2

    paths = [str(path) for path in sorted(folder.rglob("*.JPEG"))]
    with multiprocessing.Pool(initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        kept = sum(pool.imap_unordered(convert, paths, chunksize=32))
    print(f"{kept} of {len(paths)} kept")


def canonical_pipeline(folder: Path, output: str) -> None:
    """The other rival: pixels travel through the runner, and Beam writes the TFRecords."""
    import apache_beam as beam
    from apache_beam.io import fileio
    from apache_beam.io.tfrecordio import WriteToTFRecord
    from apache_beam.options.pipeline_options import PipelineOptions

    flags = ["--runner=FnApiRunner", "--direct_running_mode=multi_processing", "--direct_num_workers=0"]
    with beam.Pipeline(options=PipelineOptions(flags)) as pipeline:
        (
            pipeline
            | fileio.MatchFiles(f"{folder}/**/*.JPEG")
            | fileio.ReadMatches()
            | beam.Reshuffle()
            | beam.Map(canonical_example)
            | beam.Filter(bool)
            | WriteToTFRecord(f"{output}/train", num_shards=8)
        )


def canonical_example(file: Any) -> bytes:
    """The article's recipe with cv2 alone, and labels by our table, without which it would be hopeless."""
    import cv2
    import numpy as np

    from preprocess.posterize import to_labels
    from preprocess.recipe import DEFAULT
    from tfrecords_schema import encode_example, pack_edges

    cv2.setNumThreads(1)
    bgr = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR)
    if bgr is None or min(bgr.shape[:2]) < DEFAULT.image_size:
        return b""
    small = cv2.resize(bgr, (DEFAULT.image_size,) * 2)
    small = cv2.normalize(small, None, 0, 255, cv2.NORM_MINMAX)
    smooth = cv2.bilateralFilter(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), 3, 60, 120)
    median = float(np.median(smooth))
    edges = cv2.Canny(smooth, max(0, int(median - 84.15)), min(255, int(median + 84.15))) >> 7
    labels = to_labels(cv2.cvtColor(small, cv2.COLOR_BGR2RGB), DEFAULT.known_palette)
    return encode_example(file.metadata.path.encode(), pack_edges(edges), labels.tobytes())


def stages(images: Path) -> dict[str, float]:
    """Microseconds of CPU an image takes: best of five passes over (at most 300 of) the photographs."""
    import cv2
    import simplejpeg

    from preprocess.decode import decode
    from preprocess.lines.canny import to_edges
    from preprocess.posterize import to_labels
    from preprocess.recipe import DEFAULT
    from preprocess.transform import resize, stretch, transform
    from tfrecords_schema import encode_example, frame_record, pack_edges

    cv2.setNumThreads(1)
    data = [path.read_bytes() for path in photographs(images, jpeg_only=True)[:300]]
    data = [one for one in data if kept(one)]
    size = DEFAULT.image_size
    decoded = [decode(one, size, DEFAULT.max_pixels, True) for one in data]
    pixels = [stretch(resize(one, DEFAULT)) for one in decoded]
    done = [(to_edges(one, DEFAULT), to_labels(one, DEFAULT.known_palette)) for one in pixels]
    timed: dict[str, tuple[Callable[[Any], Any], list[Any]]] = {
        "decode alone": (lambda x: simplejpeg.decode_jpeg(x, "RGB", min_height=size, min_width=size), data),
        "decode": (lambda x: decode(x, size, DEFAULT.max_pixels, True), data),
        "resize": (lambda x: resize(x, DEFAULT), decoded),
        "edges": (lambda x: to_edges(x, DEFAULT), pixels),
        "labels": (lambda x: to_labels(x, DEFAULT.known_palette), pixels),
        "record": (
            lambda x: frame_record(encode_example(b"key", pack_edges(x[0]), x[1].tobytes())), done
        ),
        "all but the record": (lambda x: transform(x, DEFAULT), data),
    }  # fmt: skip
    # In turn, so that a machine that slows down slows all of them.
    passes = [{name: cpu(*work) for name, work in timed.items()} for _ in range(5)]
    return {name: min(one[name] for one in passes) for name in timed}


def cpu(function: Callable[[Any], Any], items: list[Any]) -> float:
    """Microseconds of CPU time an item."""
    started = time.process_time()
    for item in items:
        function(item)
    return (time.process_time() - started) / len(items) * 1e6


def kept(data: bytes) -> bool:
    """Whether the recipe takes the image."""
    from preprocess.recipe import DEFAULT
    from preprocess.rejects import Rejected
    from preprocess.transform import transform

    try:
        transform(data, DEFAULT)
    except Rejected:
        return False
    return True


def copies(images: Path, folder: Path, count: int) -> None:
    """Fills `folder` with `count` names for copies of the photographs in `images`, in class folders."""
    found = photographs(images, jpeg_only=True)
    for i in range(count):
        path = found[i % len(found)]
        names = folder / path.parent.name
        first = names / f"{path.stem}_0000.JPEG"
        if i < len(found):
            names.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, first)
        else:
            (names / f"{path.stem}_{i // len(found):04d}.JPEG").hardlink_to(first)


def measure(command: list[str]) -> dict[str, float]:
    """Runs a command to its end: wall seconds, and peak MB of it and of its largest descendant."""
    peaks: dict[int, float] = {}
    with tempfile.TemporaryFile("w+") as said:
        started = time.monotonic()
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=said, text=True)
        while process.poll() is None:
            for pid in [process.pid, *descendants(process.pid)]:
                peaks[pid] = max(peaks.get(pid, 0), peak_mb(pid))
            time.sleep(0.05)
        wall = time.monotonic() - started
        if process.returncode:
            said.seek(0)
            raise WorkError(f"{' '.join(command)} failed: {said.read()[-2000:].strip()}")
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


def compare(folder: Path, count: int, runs: int, ways: list[str]) -> Table:
    """Medians over `runs` of each way, run in turn."""
    rows: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(runs):
        for way in ways:
            output = folder.parent / "dataset"
            output.mkdir()
            rows[way].append(measure(command(way, folder, output)))
            shutil.rmtree(output)
    table = {
        way: {k: statistics.median(r[k] for r in found) for k in found[0]} for way, found in rows.items()
    }
    for figures in table.values():
        figures["images_per_s"] = count / figures["wall_s"]
        figures["images_per_s_inside"] = count / figures["inside_s"]
    return table


def command(way: str, folder: Path, output: Path) -> list[str]:
    """What to type for one of the ways."""
    if way == "linewash":
        paths = ["--input", str(folder), "--output", str(output)]
        # None to judge by: of few images none may fall to it, which would end the job.
        return [sys.executable, "-m", "preprocess", *paths, "--val_fraction", "0"]
    return [sys.executable, __file__, "--way", way, "--images", str(folder), "--out", str(output)]


def parser() -> Parser:
    """Every flag."""
    made = options("bench/preprocess", __doc__)
    add = made.add_argument
    add("--images", type=local_path, required=True, help="a folder of photographs")
    add("--count", type=at_least(1), default=8000, help="how many to convert [8000]")
    add("--runs", type=at_least(1), default=3, help="of each way [3]")
    add("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="which to run [all of them]")
    add("--out", help=argparse.SUPPRESS)  # of a rival, as a process of its own
    return made


def main(words: list[str] | None = None) -> int:
    """Answers the command line; returns the exit code."""
    return run(parser(), work, words, extra="preprocess")


def work(args: argparse.Namespace) -> int:
    """Prints the tables; writes JSON with --json; 0."""
    if args.way == "pool":
        pool_loop(args.images)
    elif args.way == "canonical":
        canonical_pipeline(args.images, args.out)
    elif args.way:
        raise UsageError(f"there is no way {args.way}")
    else:
        bench(args)
    return 0


def bench(args: argparse.Namespace) -> None:
    """Runs everything and tells."""
    with tempfile.TemporaryDirectory(prefix="linewash-bench-") as temporary:
        folder = Path(temporary, "images")
        copies(args.images, folder, args.count)
        table = compare(folder, args.count, args.runs, args.ways)
    times = stages(args.images)
    print(f"{args.count:,} images, {available_cores()} cores, medians of {args.runs} runs")
    tell(show(table, times), {"ways": table, "stages_us": times}, args.json)


def show(table: Table, times: dict[str, float]) -> Iterator[str]:
    """The table's lines, and what each step costs."""
    yield f"{'':12}{'images/s':>10}{'without start':>15}{'launcher MB':>13}{'worker MB':>11}"
    for way, row in table.items():
        yield (
            f"{way:12}{row['images_per_s']:10,.0f}{row['images_per_s_inside']:15,.0f}"
            f"{row['launcher_mb']:13,.0f}{row['worker_mb']:11,.0f}"
        )
    for rival in sorted(set(table) - {"linewash"}) if "linewash" in table else ():
        ours = table["linewash"]
        ratio, inside = (
            ours[k] / table[rival]["images_per_s"] for k in ("images_per_s", "images_per_s_inside")
        )
        yield f"linewash / {rival}: {ratio:.2f} ({inside:.2f} without linewash's start)"
    yield "CPU time an image, µs: " + ", ".join(f"{name} {t:.0f}" for name, t in times.items())
    yield f"all but the record / decode alone: {times['all but the record'] / times['decode alone']:.2f}"


if __name__ == "__main__":
    sys.exit(main())
