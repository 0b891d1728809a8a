"""Shows progress: the number of images while listing, then the number of converted images.

The latter is read from the receipts, which works with every runner. Progress is a bar in a terminal, and a
line per minute elsewhere, for example in a log file.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

from preprocess import cli
from preprocess.storage import files
from tfrecords_schema import RECEIPTS_DIR, SchemaError, ShardReceipt

T = TypeVar("T")

LOCAL_INTERVAL = 0.3  # seconds between two listings of the receipts
REMOTE_INTERVAL = 10.0  # seconds; listing a bucket costs money
LOG_INTERVAL = 60.0  # seconds between two lines of a log


def count_images(images: Iterable[T], task: str, total: int | None = None) -> Iterator[T]:
    """Yields the images and shows how many were yielded, because listing a million files takes a while.

    Args:
      images: any iterable.
      task: what the program is doing, to be shown before the number.
      total: the number of images, if it is known.
    """
    if sys.stderr.isatty():
        yield from tqdm(images, desc=task, unit=" images", leave=False, total=total, dynamic_ncols=True)
        return
    timer = _LogTimer()
    for number, image in enumerate(images, 1):
        yield image
        if timer.is_due():
            cli.print_error(f"{task}: {number:,}{f' of {total:,}' if total else ''} images")


def count_shard(data: bytes, name: str) -> tuple[int, int]:
    """Returns the number of examples and of rejects of the `ShardReceipt` with this name and content.

    Raises:
      SchemaError: it is damaged.
    """
    receipt = ShardReceipt.from_json(data, name)
    return receipt.shard.examples, len(receipt.rejects)


@contextlib.contextmanager
def show_progress(
    output: str,
    total: int,
    old_receipts: Collection[str] = (),
    folder: str = RECEIPTS_DIR,
    count: Callable[[bytes, str], tuple[int, int]] = count_shard,
) -> Iterator[None]:
    """Shows images, images/s, time left and rejects during the block.

    Args:
      output: the dataset directory.
      total: the number of images to convert in this run.
      old_receipts: the names of the receipts of earlier runs, relative to `output`. They are not counted.
      folder: where the receipts are, relative to `output`.
      count: returns the number of images and of rejects by the content and the name of a receipt.
    """
    stop = threading.Event()
    display = _Bar(total) if sys.stderr.isatty() else _LogLines(total)
    receipts = _Receipts(output, folder, count, set(old_receipts))
    watcher = threading.Thread(target=_watch, args=(receipts, display, stop), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()
        display.close()


class _Receipts:
    """The receipts below `output`/`folder`, without those whose names are in `seen`."""

    def __init__(
        self, output: str, folder: str, count: Callable[[bytes, str], tuple[int, int]], seen: set[str]
    ) -> None:
        self.interval = REMOTE_INTERVAL if files.is_remote(output) else LOCAL_INTERVAL
        self._output, self._pattern, self._count, self._seen = output, f"{folder}/*.json", count, seen
        self._images = self._rejects = 0

    def count(self) -> tuple[int, int]:
        """Reads the new receipts; returns the number of images, with the rejected ones, and of rejects."""
        names: list[str] = []
        with contextlib.suppress(OSError):  # the next listing may succeed
            names = files.names(self._output, self._pattern)
        for name in sorted(set(names) - self._seen):
            with contextlib.suppress(SchemaError, OSError):
                examples, rejects = self._count(files.read(files.join(self._output, name)), name)
                self._seen.add(name)
                self._rejects += rejects
                self._images += examples + rejects
        return self._images, self._rejects


def _watch(receipts: _Receipts, display: _Bar | _LogLines, stop: threading.Event) -> None:
    is_last = False
    while not is_last:
        # Receipts are listed once more after the end, so that the bar fills.
        is_last = stop.wait(receipts.interval)
        display.update(*receipts.count())


class _Bar:
    """A progress bar in a terminal."""

    def __init__(self, total: int) -> None:
        self._bar = tqdm(total=total, unit=" images", smoothing=0.1, dynamic_ncols=True)

    def update(self, images: int, rejects: int) -> None:
        """Shows the number of converted images, `rejects` of them rejected."""
        if images > self._bar.n:
            self._bar.set_postfix(rejects=rejects, refresh=False)
            self._bar.update(images - self._bar.n)

    def close(self) -> None:
        self._bar.close()


class _LogLines:
    """Progress as lines of a log."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._start = time.monotonic()
        self._timer = _LogTimer()

    def update(self, images: int, rejects: int) -> None:
        """Prints a line if `LOG_INTERVAL` has passed."""
        if self._timer.is_due():
            cli.print_error(progress_line(images, self._total, rejects, time.monotonic() - self._start))

    def close(self) -> None:
        """Does nothing. Only a bar must be closed."""


class _LogTimer:
    """Decides when the next line is printed."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def is_due(self) -> bool:
        """Returns True once every `LOG_INTERVAL` seconds."""
        now = time.monotonic()
        if now - self._last < LOG_INTERVAL:
            return False
        self._last = now
        return True


def progress_line(images: int, total: int, rejects: int, seconds: float) -> str:
    """Returns a line of a log about `images` of `total`, `rejects` of them rejected, after `seconds`."""
    rate = images / seconds if seconds > 0 else 0.0
    time_left = f"{_duration((total - images) / rate)} left" if rate else "time left unknown"
    return f"{images:,} of {total:,} images, {rate:,.0f} images/s, {time_left}, {rejects:,} rejects"


def _duration(seconds: float) -> str:
    """Formats a duration: 40 s, 12 min, 3 h 05 min."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
