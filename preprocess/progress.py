"""Shows progress: a count while listing, then images done as the receipts tell, the same on every runner.

In a terminal it is a bar. Anywhere else, as in a log file, it is a line a minute.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

from preprocess import cli
from preprocess.storage import files
from tfrecords_schema import RECEIPTS_DIR, SchemaError, ShardReceipt

T = TypeVar("T")

LOCAL_INTERVAL = 0.3  # seconds between two looks at the receipts
REMOTE_INTERVAL = 10.0  # listing a bucket costs money
LOG_INTERVAL = 60.0  # seconds between two lines in a log


def counted(images: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Passes the images on and shows how many: over a million files, listing takes a while.

    Args:
      what: the work that is done meanwhile.
      total: how many there are, if that is known.
    """
    if sys.stderr.isatty():
        yield from tqdm(images, desc=what, unit=" images", leave=False, total=total, dynamic_ncols=True)
        return
    log = _Log()
    for number, image in enumerate(images, 1):
        yield image
        if log.is_due():
            cli.complain(f"{what}: {number:,}{f' of {total:,}' if total else ''} images")


@contextlib.contextmanager
def shown(output: str, total: int, done: set[str]) -> Iterator[None]:
    """Shows images, images/s, time left and rejects while the block runs.

    Args:
      output: the dataset directory.
      total: images to convert in this run.
      done: receipts (relative names) that stood before; they do not count.
    """
    stop = threading.Event()
    show = _Bar(total) if sys.stderr.isatty() else _Lines(total)
    watcher = threading.Thread(target=_watch, args=(output, set(done), show, stop), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()
        show.close()


def _watch(output: str, seen: set[str], show: _Bar | _Lines, stop: threading.Event) -> None:
    interval = REMOTE_INTERVAL if files.is_remote(output) else LOCAL_INTERVAL
    images = rejects = 0
    last = False
    while not last:
        last = stop.wait(interval)  # one more look after the end, so that the bar fills
        names: list[str] = []
        with contextlib.suppress(OSError):  # a bar may miss a look
            names = files.names(output, f"{RECEIPTS_DIR}/*.json")
        for name in sorted(set(names) - seen):
            with contextlib.suppress(SchemaError, OSError):
                receipt = ShardReceipt.from_json(files.read(files.join(output, name)), name)
                seen.add(name)
                rejects += len(receipt.rejects)
                images += receipt.shard.examples + len(receipt.rejects)
        show.update(images, rejects)


class _Bar:
    """Progress in a terminal."""

    def __init__(self, total: int) -> None:
        self._bar = tqdm(total=total, unit=" images", smoothing=0.1, dynamic_ncols=True)

    def update(self, images: int, rejects: int) -> None:
        """Shows so many images done, `rejects` of them left out."""
        if images > self._bar.n:
            self._bar.set_postfix(rejects=rejects, refresh=False)
            self._bar.update(images - self._bar.n)

    def close(self) -> None:
        self._bar.close()


class _Lines:
    """Progress in a log."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._began = time.monotonic()
        self._log = _Log()

    def update(self, images: int, rejects: int) -> None:
        """Prints a line if it is time for one: `images` are done, `rejects` of them left out."""
        if self._log.is_due():
            cli.complain(progress_line(images, self._total, rejects, time.monotonic() - self._began))

    def close(self) -> None:
        """Nothing is to be done."""


class _Log:
    """Says when the next line is due."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def is_due(self) -> bool:
        """True once every `LOG_INTERVAL` seconds."""
        now = time.monotonic()
        if now - self._last < LOG_INTERVAL:
            return False
        self._last = now
        return True


def progress_line(images: int, total: int, rejects: int, seconds: float) -> str:
    """One line of a log: `images` of `total` are done after `seconds`, `rejects` of them left out."""
    rate = images / seconds if seconds > 0 else 0.0
    left = f"{_duration((total - images) / rate)} left" if rate else "time left unknown"
    return f"{images:,} of {total:,} images, {rate:,.0f} images/s, {left}, {rejects:,} rejects"


def _duration(seconds: float) -> str:
    """Seconds in the units that people use: 40 s, 12 min, 3 h 05 min."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
