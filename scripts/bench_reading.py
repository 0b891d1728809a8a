"""How much read-ahead hides of storage that is far: the same images one at a time, and as a shard reads them.

    python scripts/bench_reading.py --images PHOTOS --delay 50

The storage is a Beam file system, far://, that answers from the local disk, but each request only after
`delay` milliseconds.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import IO, Any

from apache_beam.io.localfilesystem import LocalFileSystem

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from preprocess.reading import AHEAD, read_all, read_image
from preprocess.sources import Image


class FarFileSystem(LocalFileSystem):
    """far://PATH: the local file at PATH, opened `delay` seconds after it was asked for."""

    delay = 0.0

    @classmethod
    def scheme(cls) -> str:
        """What its paths begin with."""
        return "far"

    def open(self, path: str, *options: Any, **more: Any) -> IO[bytes]:
        """Beam calls this."""
        time.sleep(self.delay)
        return super().open(path.removeprefix("far:/"), *options, **more)


def main() -> None:
    """Prints the two rates and their ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True, help="a folder of JPEGs")
    parser.add_argument("--delay", type=float, default=50, help="milliseconds before each answer [50]")
    args = parser.parse_args()
    FarFileSystem.delay = args.delay / 1000
    found = sorted(args.images.resolve().rglob("*.JPEG"))
    images = [Image(path.name, f"far:/{path}") for path in found]
    started = time.monotonic()
    one_by_one = [read_image(image) for image in images]
    middle = time.monotonic()
    ahead = [data for _, data in read_all(images)]
    ended = time.monotonic()
    assert ahead == one_by_one, "the same images in the same order"
    slow, fast = len(images) / (middle - started), len(images) / (ended - middle)
    print(f"{len(images)} images, each answer after {args.delay:g} ms")
    print(f"one at a time: {slow:.0f} images/s; {AHEAD} ahead: {fast:.0f} images/s; {fast / slow:.1f} times")


if __name__ == "__main__":
    main()
