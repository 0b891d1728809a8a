"""What the user sees move: a count while listing, then a bar fed by receipts, the same on every runner."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterable, Iterator

from tqdm import tqdm

from preprocess import storage
from preprocess.sources import Image
from tfrecords_schema import RECEIPTS_DIR, SchemaError, ShardReceipt

LOCAL_INTERVAL = 0.3  # seconds between two looks at the receipts
REMOTE_INTERVAL = 10.0  # listing a bucket costs money


def listing(images: Iterable[Image]) -> Iterable[Image]:
    """Passes the images on and counts them aloud: over a million files, listing takes a while."""
    return tqdm(images, desc="listing", unit=" images", leave=False, disable=not sys.stderr.isatty())


@contextlib.contextmanager
def bar(output: str, total: int, done: set[str]) -> Iterator[None]:
    """Shows images, images/s, time left and rejects while the block runs.

    Args:
      output: the dataset directory.
      total: images to convert in this run.
      done: receipts (relative names) that stood before; they do not count.
    """
    stop = threading.Event()
    with tqdm(
        total=total, unit=" images", smoothing=0.1, disable=not sys.stderr.isatty(), dynamic_ncols=True
    ) as shown:
        watcher = threading.Thread(target=_watch, args=(output, set(done), shown, stop), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            stop.set()
            watcher.join()


def _watch(output: str, seen: set[str], shown: tqdm, stop: threading.Event) -> None:
    interval = REMOTE_INTERVAL if storage.is_remote(output) else LOCAL_INTERVAL
    rejects = 0
    last = False
    while not last:
        last = stop.wait(interval)  # one more look after the end, so that the bar fills
        names: list[str] = []
        with contextlib.suppress(OSError):  # a bar may miss a look
            names = storage.names(output, f"{RECEIPTS_DIR}/*.json")
        for name in sorted(set(names) - seen):
            with contextlib.suppress(SchemaError, OSError):
                receipt = ShardReceipt.from_json(storage.read(storage.join(output, name)), name)
                seen.add(name)
                rejects += len(receipt.rejects)
                shown.set_postfix(rejects=rejects, refresh=False)
                shown.update(receipt.shard.examples + len(receipt.rejects))
