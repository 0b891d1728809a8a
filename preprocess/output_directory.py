"""Makes the output directory of a job, locks it, and checks that files can be written to it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from preprocess.storage import files
from preprocess.storage.base import StorageError


class OutputError(ValueError):
    """An output directory that this job must not write to. The message says why and what to do."""


@contextlib.contextmanager
def output_directory(
    output: str, first_unknown_file: Callable[[str], str | None], refusals: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Makes the output directory, locks it during the block, and checks that files can be written to it.

    A local job that is refused before it wrote anything removes the folders that it made, unless something
    was saved in them. Buckets have no lock.

    Args:
      output: a local directory, or a folder of a bucket.
      first_unknown_file: returns the name of a file in a local directory that no such job writes, or None.
      refusals: the errors by which a job is refused, beside `OutputError`.

    Raises:
      OutputError: the directory cannot be used; the message says why.
    """
    if files.is_remote(output):
        _check_writable(output)
        yield
        return
    new_folders = _make_directory(output, first_unknown_file)
    with lock(output):
        try:
            _check_writable(output)
            yield
        except Exception as e:
            if not isinstance(e, (OutputError, *refusals)):
                raise
            files.remove_folder(output, files.WORK_DIR)
            with contextlib.suppress(OSError):  # the folder is not empty
                for folder in new_folders:
                    folder.rmdir()
            raise


def _make_directory(output: str, first_unknown_file: Callable[[str], str | None]) -> list[Path]:
    """Makes the local output directory, and refuses one that contains files which are not of such a job.

    Such files would be lost when a later message advises to remove the directory.

    Returns:
      The folders that were made, the innermost first.
    """
    missing = [folder for folder in (Path(output), *Path(output).parents) if not folder.exists()]
    try:
        files.make_folder(Path(output))
    except OSError as e:
        raise OutputError(f"--output {output} is not a directory that can be made: {e.strerror}") from None
    if name := first_unknown_file(output):
        raise OutputError(f"--output {output} holds other files ({name}): type the name of a new directory")
    return missing


@contextlib.contextmanager
def lock(output: str) -> Iterator[None]:
    """Keeps a second job out of a local output directory. The kernel releases the lock when the process ends.

    Raises:
      OutputError: another job holds the lock.
    """
    # The directory itself is locked, so that no lock file can be left behind.
    try:
        descriptor = os.open(output, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as e:
        raise OutputError(f"cannot write to --output {output}: {e.strerror}") from None
    try:
        if not try_lock(descriptor, output):
            raise OutputError(f"another job is writing to {output}: wait until it is done")
        yield
    finally:
        os.close(descriptor)


def try_lock(descriptor: int, output: str) -> bool:
    """Returns False if another job holds the lock, or held it and then removed the directory."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), Path(output).stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def _check_writable(output: str) -> None:
    """Writes a small file, so that a directory without write access is refused before the long listing."""
    try:
        files.write(output, f"{files.WORK_DIR}/writable", b"")
    except StorageError as e:
        raise OutputError(str(e)) from None
    except OSError as e:
        raise OutputError(f"cannot write to --output {output}: {e.strerror or e}") from None
