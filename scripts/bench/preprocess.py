"""Compares the speed and memory of the Beam job with two other implementations.

    python scripts/bench/preprocess.py --images IMAGES --count 8000

- linewash: python -m preprocess.
- pool: a multiprocessing.Pool over the same per-image function. It discards the results.
- canonical: the pipeline of Beam's own examples (ReadMatches, Reshuffle, Map, WriteToTFRecord) with cv2.

The images are hard-linked under new names until there are --count. Each run is a process of its own, timed
from start to exit; the variants take turns. Memory is the peak of the launcher and of its largest descendant.
The CPU time of each stage of the per-image function is measured at the end, in this process.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from bench.datasets import duplicate_images, is_accepted, list_images
from bench.harness import benchmark_parser, write_results
from bench.processes import measure_process, python_command
from linewash.arguments import Parser, at_least, local_path, run

from preprocess.cores import available_cores
from training.errors import UsageError

VARIANTS = ("pool", "linewash", "canonical")
Table = dict[str, dict[str, float]]


def convert(path: str) -> bool:
    """Reads and transforms one image, and returns whether the recipe accepts it."""
    return is_accepted(Path(path).read_bytes())


def run_pool(folder: Path) -> None:
    """Transforms every image of `folder` in a Pool of all cores and discards the results."""
    import cv2

    paths = [str(path) for path in sorted(folder.rglob("*.JPEG"))]
    with multiprocessing.Pool(initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        accepted = sum(pool.imap_unordered(convert, paths, chunksize=32))
    print(f"{accepted} of {len(paths)} images accepted")


def run_canonical_pipeline(folder: Path, output: str) -> None:
    """Runs the pipeline of Beam's examples: images travel through the runner, Beam writes the TFRecords."""
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
    """Returns the record of one image, made with cv2 by the article's recipe; b"" if the image is rejected.

    Labels come from linewash's look-up tables: a loop over pixels would take a second per image.
    """
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


def time_stages(folder: Path) -> dict[str, float]:
    """Returns the CPU time per image of each stage in µs: the best of five passes over up to 300 images."""
    import cv2
    import simplejpeg

    from preprocess.decode import decode
    from preprocess.lines.styles import LINE_STYLES, Picture
    from preprocess.pixels import resize, stretch
    from preprocess.posterize import to_labels
    from preprocess.recipe import DEFAULT
    from preprocess.transform import transform
    from tfrecords_schema import encode_example, frame_record, pack_edges

    cv2.setNumThreads(1)
    files = [path.read_bytes() for path in list_images(folder, jpeg_only=True)[:300]]
    files = [data for data in files if is_accepted(data)]
    size = DEFAULT.image_size
    decoded = [decode(data, size, DEFAULT.max_pixels, True) for data in files]
    pixels = [stretch(resize(rgb, DEFAULT)) for rgb in decoded]
    labels = [to_labels(rgb, DEFAULT.known_palette) for rgb in pixels]
    pictures = [Picture(rgb, map_, None, DEFAULT) for rgb, map_ in zip(pixels, labels, strict=True)]
    maps = [(LINE_STYLES["canny"](picture), picture.labels) for picture in pictures]
    styles = tuple(name for name in LINE_STYLES if name != "drawn")  # photographs have no drawings
    all_styles = dataclasses.replace(DEFAULT, lines=styles)
    stages: dict[str, tuple[Callable[[Any], Any], list[Any]]] = {
        "decode alone": (lambda x: simplejpeg.decode_jpeg(x, "RGB", min_height=size, min_width=size), files),
        "decode": (lambda x: decode(x, size, DEFAULT.max_pixels, True), files),
        "resize": (lambda x: resize(x, DEFAULT), decoded),
        **{name: (LINE_STYLES[name], pictures) for name in styles},
        "labels": (lambda x: to_labels(x, DEFAULT.known_palette), pixels),
        "record": (
            lambda x: frame_record(encode_example(b"key", pack_edges(x[0]), x[1].tobytes())), maps
        ),
        "all but the record": (lambda x: transform(x, DEFAULT), files),
        "with all line styles": (lambda x: transform(x, all_styles), files),
    }  # fmt: skip
    # The stages take turns, so that a slow phase of the machine slows all of them.
    passes = [{name: cpu_us(*stage) for name, stage in stages.items()} for _ in range(5)]
    return {name: min(times[name] for times in passes) for name in stages}


def cpu_us(function: Callable[[Any], Any], items: list[Any]) -> float:
    """Returns the CPU time per item in microseconds."""
    started = time.process_time()
    for item in items:
        function(item)
    return (time.process_time() - started) / len(items) * 1e6


def measure(command: list[str]) -> dict[str, float]:
    """Runs a command and returns its wall time, also without start-up if it prints it, and peak memory."""
    figures = measure_process(command)
    inside = re.search(r"in ([\d.]+) s", figures.stdout)
    return {
        "wall_s": figures.wall_s,
        "inside_s": float(inside[1]) if inside else figures.wall_s,
        "launcher_mb": figures.launcher_mb,
        "worker_mb": figures.worker_mb,
    }


def compare_variants(folder: Path, count: int, runs: int, variants: list[str]) -> Table:
    """Returns the median figures of each variant. The variants take turns."""
    rows: dict[str, list[dict[str, float]]] = {variant: [] for variant in variants}
    for _ in range(runs):
        for variant in variants:
            output = folder.parent / "dataset"
            output.mkdir()
            rows[variant].append(measure(variant_command(variant, folder, output)))
            shutil.rmtree(output)
    table = {
        variant: {key: statistics.median(figures[key] for figures in results) for key in results[0]}
        for variant, results in rows.items()
    }
    for figures in table.values():
        figures["images_per_s"] = count / figures["wall_s"]
        figures["images_per_s_inside"] = count / figures["inside_s"]
    return table


def variant_command(variant: str, folder: Path, output: Path) -> list[str]:
    """Returns the command that runs a variant."""
    if variant == "linewash":
        paths = ["--input", folder, "--output", output]
        # Without a validation split: a few images may all fall into `train`, which the job refuses.
        return python_command("-m", "preprocess", *paths, "--val_fraction", 0)
    return python_command(__file__, "--variant", variant, "--images", folder, "--output", output)


def make_parser() -> Parser:
    """Returns the parser of the command line."""
    parser = benchmark_parser("bench/preprocess", __doc__)
    add = parser.add_argument
    add("--images", type=local_path, required=True, help="folder of JPEGs")
    add("--count", type=at_least(1), default=8000, help="number of images to convert [8000]")
    add("--runs", type=at_least(1), default=3, help="runs of each variant [3]")
    add("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="variants to run [all]")
    add("--output", help=argparse.SUPPRESS)  # set in the process of the canonical pipeline
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    return run(make_parser(), work, argv, extra="preprocess")


def work(args: argparse.Namespace) -> int:
    """Runs one variant if --variant is given, or else compares them all. Returns 0."""
    if args.variant == "pool":
        run_pool(args.images)
    elif args.variant == "canonical":
        run_canonical_pipeline(args.images, args.output)
    elif args.variant:
        raise UsageError(f"--variant {args.variant}: expected pool or canonical")
    else:
        compare(args)
    return 0


def compare(args: argparse.Namespace) -> None:
    """Compares the variants, times the stages, prints the tables, and writes JSON if --json is given."""
    with tempfile.TemporaryDirectory(prefix="linewash-bench-") as temporary:
        folder = Path(temporary, "images")
        duplicate_images(args.images, folder, args.count)
        table = compare_variants(folder, args.count, args.runs, args.variants)
    times = time_stages(args.images)
    print(f"{args.count:,} images, {available_cores()} cores, medians of {args.runs} runs")
    write_results(table_lines(table, times), {"variants": table, "stages_us": times}, args.json)


def table_lines(table: Table, times: dict[str, float]) -> Iterator[str]:
    """Yields the lines of the table, the ratios, and the CPU time of the stages."""
    yield f"{'':12}{'images/s':>10}{'without start':>15}{'launcher MB':>13}{'worker MB':>11}"
    for variant, row in table.items():
        yield (
            f"{variant:12}{row['images_per_s']:10,.0f}{row['images_per_s_inside']:15,.0f}"
            f"{row['launcher_mb']:13,.0f}{row['worker_mb']:11,.0f}"
        )
    for other in sorted(set(table) - {"linewash"}) if "linewash" in table else ():
        ratio, ratio_inside = (
            table["linewash"][key] / table[other]["images_per_s"]
            for key in ("images_per_s", "images_per_s_inside")
        )
        yield f"linewash / {other}: {ratio:.2f} ({ratio_inside:.2f} without linewash's start)"
    yield "CPU time per image, µs: " + ", ".join(f"{name} {t:.0f}" for name, t in times.items())
    for name, other in (
        ("all but the record", "decode alone"),
        ("with all line styles", "all but the record"),
    ):
        yield f"{name} / {other}: {times[name] / times[other]:.2f}"


if __name__ == "__main__":
    sys.exit(main())
