"""How much read-ahead hides of storage that is far: the same images one at a time, and as a shard reads them.

    python scripts/bench/prefetch.py --images PHOTOS --delay 50

The storage is a Beam file system, far://, that answers from the local disk, but each request only after
`delay` milliseconds.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from linewash.coloring.arguments import Parser, local_path, run


def parser() -> Parser:
    """Every flag."""
    made = Parser("bench/prefetch", __doc__)
    made.add_argument("--images", type=local_path, required=True, help="a folder of JPEGs")
    made.add_argument("--delay", type=_milliseconds, default=50, help="milliseconds before each answer [50]")
    return made


def _milliseconds(text: str) -> float:
    try:
        delay = float(text)
    except ValueError:
        delay = -1.0
    if not 0 <= delay < 60_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 60000")
    return delay


def main(words: list[str] | None = None) -> int:
    """Answers the command line; returns the exit code."""
    return run(parser(), work, words, extra="preprocess")


def work(args: argparse.Namespace) -> int:
    """Prints the two rates and their ratio; 0."""
    from photographs import photographs

    from preprocess.image_reader import IMAGES_AHEAD, read_image, read_images
    from preprocess.sources import Image

    _add_far_storage(args.delay / 1000)
    images = [Image(path.name, f"far:/{path}") for path in photographs(args.images.resolve(), jpeg_only=True)]
    started = time.monotonic()
    one_by_one = [read_image(image) for image in images]
    middle = time.monotonic()
    ahead = [data for _, data in read_images(images)]
    ended = time.monotonic()
    assert ahead == one_by_one, "the same images in the same order"
    slow, fast = len(images) / (middle - started), len(images) / (ended - middle)
    print(f"{len(images)} images, each answer after {args.delay:g} ms")
    rates = f"one at a time: {slow:.0f} images/s; {IMAGES_AHEAD} ahead: {fast:.0f} images/s"
    print(f"{rates}; {fast / slow:.1f} times")
    return 0


def _add_far_storage(delay: float) -> None:
    """Makes Beam know far://PATH: the local file at PATH, opened `delay` seconds after it was asked for."""
    from apache_beam.io.localfilesystem import LocalFileSystem

    class FarFileSystem(LocalFileSystem):
        @classmethod
        def scheme(cls) -> str:
            return "far"

        def open(self, path: str, *options: Any, **more: Any) -> IO[bytes]:
            time.sleep(delay)
            return super().open(path.removeprefix("far:/"), *options, **more)

    _far_storages.append(FarFileSystem)


# Beam finds file systems among the subclasses that are alive.
_far_storages: list[type] = []


if __name__ == "__main__":
    sys.exit(main())
