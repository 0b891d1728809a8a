"""Sizes and failures of files on a local disk or in a bucket, the latter through TensorFlow.

Temporary failures of a bucket are retried. All other failures are raised as Python's own `OSError`s.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from tfrecords_schema import storage_error
from training.errors import WorkError

MAX_ATTEMPTS = 5
FIRST_PAUSE_SECONDS = 1.0  # before the second attempt; doubled before each further one
# Concurrent requests to a bucket: a single request takes long, and many take hardly longer.
MAX_CONNECTIONS = 32

T = TypeVar("T")


def is_remote(path: str) -> bool:
    """Returns True for URLs such as gs://BUCKET/dataset."""
    return "://" in path


def wait_before_retry(attempt: int) -> bool:
    """Sleeps after attempt number `attempt` (from 0) has failed; returns False if it was the last one."""
    if attempt + 1 >= MAX_ATTEMPTS:
        return False
    time.sleep(FIRST_PAUSE_SECONDS * 2**attempt)
    return True


def with_retries(read: Callable[[], T]) -> T:
    """Calls `read` until it succeeds, at most `MAX_ATTEMPTS` times, and returns its result.

    Raises:
      ConnectionError: the network or the storage failed in the last attempt, too.
      OSError: any other failure, which is not retried.
    """
    attempt = 0
    while True:
        try:
            return read()
        except ConnectionError:
            if not wait_before_retry(attempt):
                raise
            attempt += 1


def explain_read_error(error: OSError, path: str) -> WorkError:
    """Returns an error whose message names the file and the reason; `path` is used if `error` has no file.

    It is for failures that do not mean that the file is damaged.
    """
    file, reason = error.filename or path, error.strerror or error
    if isinstance(error, ConnectionError):
        return WorkError(
            f"{file} could not be read: the network or the storage failed {MAX_ATTEMPTS} times in a row "
            f"({reason}): run the same command again later; training continues from its last checkpoint"
        )
    if isinstance(error, FileNotFoundError):
        return WorkError(f"{file} is missing: copy it again, or repeat the preprocessing that made it")
    return WorkError(f"{file} could not be read: {reason}")


def sizes(paths: Sequence[str]) -> Iterator[int | None]:
    """Yields the size of each file in bytes, or None for a missing file; queries a bucket concurrently.

    Raises:
      OSError: the storage failed.
    """
    if not any(map(is_remote, paths)):
        yield from map(_local_size, paths)
        return
    with ThreadPoolExecutor(MAX_CONNECTIONS) as pool:
        yield from pool.map(lambda path: with_retries(lambda: _remote_size(path)), paths)


def _local_size(path: str) -> int | None:
    file = Path(path)
    return file.stat().st_size if file.is_file() else None


def _remote_size(path: str) -> int | None:
    import tensorflow as tf

    try:
        return tf.io.gfile.stat(path).length
    except tf.errors.NotFoundError:
        return None
    except tf.errors.OpError as e:
        raise storage_error(e, path) from e
