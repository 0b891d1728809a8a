"""Reads files of buckets through TensorFlow: faults that pass are waited out, all others are named."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np

from tfrecords_schema import storage_error
from training.errors import WorkError

MAX_ATTEMPTS = 5
FIRST_PAUSE_SECONDS = 1.0  # seconds before the second try, doubled before each further one
MAX_CONNECTIONS = 32  # files of a bucket that are asked for at a time: each answer takes long, many no longer

T = TypeVar("T")


def is_remote(path: str) -> bool:
    """True for gs://… and its like."""
    return "://" in path


def wait_before_retry(attempt: int) -> bool:
    """Waits before a further try, after try number `attempt` (from 0) failed; False if that was the last."""
    if attempt + 1 >= MAX_ATTEMPTS:
        return False
    time.sleep(FIRST_PAUSE_SECONDS * 2**attempt)
    return True


def with_retries(read: Callable[[], T]) -> T:
    """Returns what `read` returns, which is tried again when a fault of the network or the store may pass.

    Raises:
      ConnectionError: that of the last of `MAX_ATTEMPTS` tries.
      OSError: any other fault, at once.
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
    """The sentence for a file of a dataset that could not be read, though nothing says that it is damaged.

    `path` is named where the error names none.
    """
    file, reason = error.filename or path, error.strerror or error
    if isinstance(error, ConnectionError):
        return WorkError(
            f"{file} could not be read: the network or the storage failed {MAX_ATTEMPTS} times in a row ({reason}): "
            "run the same command again later; a training run goes on from its last checkpoint"
        )
    if isinstance(error, FileNotFoundError):
        return WorkError(f"{file} is missing: copy it again, or repeat the preprocessing that made it")
    return WorkError(f"{file} could not be read: {reason}")


def sizes(paths: Sequence[str]) -> Iterator[int | None]:
    """Yields the size of each file in bytes, None where there is none; asks for many remote ones at a time.

    Raises:
      OSError: the store does not say.
    """
    if not any(map(is_remote, paths)):
        yield from map(_local_size, paths)
        return
    with ThreadPoolExecutor(MAX_CONNECTIONS) as pool:
        yield from pool.map(lambda path: with_retries(lambda: _remote_size(path)), paths)


def read_into(data: np.ndarray, path: str, offset: int) -> int:
    """Fills uint8 [N] from byte `offset` of a file on; returns how many bytes there were.

    Raises:
      OSError: the file cannot be read.
    """
    if is_remote(path):
        found = with_retries(lambda: _read_remote(path, offset, len(data)))
        data[: len(found)] = np.frombuffer(found, np.uint8)
        return len(found)
    with Path(path).open("rb", buffering=0) as file:
        file.seek(offset)
        return file.readinto(data.data) or 0


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


def _read_remote(path: str, offset: int, size: int) -> bytes:
    import tensorflow as tf

    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            file.seek(offset)
            return file.read(size)
    except tf.errors.OpError as e:
        raise storage_error(e, path) from e
