"""Compares reading images from slow storage one at a time with `image_reader.read_images`, which reads ahead.

    python scripts/bench/prefetch.py --images IMAGES --delay 50

The storage is a Beam file system, far://, that reads from the local disk and delays each request by --delay
milliseconds.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from bench.datasets import list_images
from linewash.arguments import Parser, local_path, run


def make_parser() -> Parser:
    """Returns the parser of the command line."""
    parser = Parser("bench/prefetch", __doc__)
    parser.add_argument("--images", type=local_path, required=True, help="folder of JPEGs")
    parser.add_argument("--delay", type=_milliseconds, default=50, help="delay per request in ms [50]")
    return parser


def _milliseconds(text: str) -> float:
    try:
        delay = float(text)
    except ValueError:
        delay = -1.0
    if not 0 <= delay < 60_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 60000")
    return delay


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    return run(make_parser(), work, argv, extra="preprocess")


def work(args: argparse.Namespace) -> int:
    """Prints the two rates and their ratio. Returns 0."""
    from preprocess.image_reader import CONCURRENT_READS, ImageBytes, read_image, read_images
    from preprocess.sources import Image

    _register_far_storage(args.delay / 1000)
    paths = list_images(args.images.resolve(), jpeg_only=True)
    images = [Image(path.name, f"far:/{path}") for path in paths]
    started = time.monotonic()
    sequential = [ImageBytes(read_image(image)) for image in images]
    prefetch_started = time.monotonic()
    prefetched = [data for _, data in read_images(images)]
    ended = time.monotonic()
    assert prefetched == sequential, "prefetching must keep the images and their order"
    sequential_rate = len(images) / (prefetch_started - started)
    prefetched_rate = len(images) / (ended - prefetch_started)
    print(f"{len(images)} images, {args.delay:g} ms per request")
    print(
        f"one at a time: {sequential_rate:.0f} images/s; "
        f"{CONCURRENT_READS} at a time: {prefetched_rate:.0f} images/s; "
        f"{prefetched_rate / sequential_rate:.1f} times"
    )
    return 0


def _register_far_storage(delay: float) -> None:
    """Registers far://PATH with Beam. It opens the local file at PATH after `delay` seconds."""
    from apache_beam.io.localfilesystem import LocalFileSystem

    class FarFileSystem(LocalFileSystem):
        @classmethod
        def scheme(cls) -> str:
            return "far"

        def open(self, path: str, *options: Any, **more: Any) -> IO[bytes]:
            time.sleep(delay)
            return super().open(path.removeprefix("far:/"), *options, **more)

    _far_storages.append(FarFileSystem)


# Keeps the class alive: Beam looks for file systems among all subclasses that exist.
_far_storages: list[type] = []


if __name__ == "__main__":
    sys.exit(main())
