"""The lock on a run directory: one process at a time trains in it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from training.errors import WorkError


@contextmanager
def lock_run_directory(run_dir: Path) -> Iterator[None]:
    """Creates the directory if needed and locks it. The system releases the lock when the process ends.

    Raises:
      WorkError: another process holds the lock.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    # The directory itself is locked, so that no lock file can be left behind.
    descriptor = os.open(run_dir, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise WorkError(
                f"another process is training in {run_dir}: wait for it, or type hydra.run.dir=ANOTHER"
            ) from e
        yield
    finally:
        os.close(descriptor)
