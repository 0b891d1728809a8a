"""One trainer in a run directory at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from training.errors import WorkError


@contextmanager
def only_trainer(run_dir: Path) -> Iterator[None]:
    """Holds the directory, which is made if need be; the system lets go of it when the process ends.

    Raises:
      WorkError: another process holds it.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    # The directory itself is locked: no lock file that could be left behind.
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
