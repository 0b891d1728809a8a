"""Which store a remote path belongs to, what every store can do, and what to say when one cannot."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import importlib
import os
import re
import shutil
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO, Protocol

from preprocess.cli import install_command

CONNECTIONS = 16  # kept open to a store: as many as images are read ahead

# What a scheme needs installed, the extras that bring it, and how to be let in.
_NEEDS = {
    "s3": (
        "boto3",
        "aws",
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run: aws configure",
    ),
    "gs": (
        "google.cloud.storage",
        "gcp",
        "run: gcloud auth application-default login, and see that the account may use the bucket",
    ),
}
_making = threading.Lock()


class StorageError(OSError):
    """A place that cannot be listed, read or written; the message names it and says why."""


@dataclasses.dataclass(frozen=True)
class Stored:
    """A file in a store: its size in bytes, and when it was changed, in seconds, 0 where nobody knows."""

    path: str
    size: int
    modified: float


class Store(Protocol):
    """Files by their full paths. What goes wrong is raised in the store's own kinds; see `explain_errors`."""

    def list(self, pattern: str) -> Iterator[Stored]:
        """Yields the files that match a glob, in no promised order."""

    def find(self, path: str) -> Stored | None:
        """The file at `path`, which is no pattern."""

    def read(self, path: str, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on, fewer at the end of the file; size -1: all to the end."""

    def write(self, path: str, file: BinaryIO, temporary: str) -> None:
        """Copies `file` to `path`, where it appears whole or not at all; `temporary` is a name to use."""

    def delete(self, path: str) -> None:
        """Removes the file at `path`, if there is one."""


def filesystems():  # type: ignore[no-untyped-def]
    """Beam's FileSystems, imported on first use: it takes most of a second."""
    from apache_beam.io.filesystems import FileSystems

    return FileSystems


def set_options(flags: list[str]) -> None:
    """Takes credentials, endpoints and the like from Beam's flags. (Beam itself does so in its workers.)"""
    from apache_beam.options.pipeline_options import PipelineOptions

    filesystems().set_options(PipelineOptions(flags))
    _store.cache_clear()


def store(path: str) -> Store:
    """The store that `path`, a remote one, lies in.

    Raises:
      StorageError: no store has such paths, or an extra of linewash is not installed.
    """
    with _making:  # sixteen readers that start together need one client, not sixteen
        return _store(path.partition("://")[0])


@functools.cache
def _store(scheme: str) -> Store:
    from apache_beam.options.pipeline_options import PipelineOptions

    _require(scheme)
    options = filesystems()._pipeline_options or PipelineOptions([])
    if scheme == "s3":
        from preprocess.storage.s3 import S3

        return S3(options)
    if scheme == "gs":
        from preprocess.storage.gcs import GCS

        return GCS(options)
    return _BeamStore(scheme)


def _require(scheme: str) -> None:
    module, extra, _ = _NEEDS.get(scheme, ("", "", ""))
    try:
        if module:
            importlib.import_module(module)
    except ImportError:
        raise StorageError(
            f"{scheme}:// needs {module}, which is not installed: run {install_command(extra)}"
        ) from None


@contextlib.contextmanager
def explain_errors(verb: str, path: str) -> Iterator[None]:
    """Turns whatever a store raises into a sentence: "cannot `verb` `path`: …".

    Raises:
      FileNotFoundError: there is no such file to read.
      StorageError: anything else.
    """
    try:
        yield
    except StorageError:
        raise
    except Exception as e:
        cause = _cause(e)
        if _status(cause) == 404 and verb == "read":
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from e
        if isinstance(e, FileNotFoundError):
            raise
        scheme = path.partition("://")[0]
        text = _text(cause)
        hint = _NEEDS.get(scheme, ("", "", ""))[2] if _is_about_access(cause) else ""
        told = StorageError(f"cannot {verb} {path}: {text}" + (f"; {hint}" if hint else ""))
        told.strerror = text  # what the ledger of rejects tells
        raise told from e


def _cause(error: Exception) -> Exception:
    """The error at the bottom: Beam puts those of single files into a dict in one of its own."""
    details = getattr(error, "exception_details", None)
    inner = next(iter(details.values()), None) if isinstance(details, dict) else None
    return _cause(inner) if isinstance(inner, Exception) else error


def _text(error: Exception) -> str:
    """What went wrong in one line."""
    if _status(error) == 404:
        return "there is no such bucket"  # of a file that is not there nobody complains here
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    line = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return re.sub(r"^\d{3} [A-Z]+ \S+: ", "", line)  # Google's client begins with the whole request


def _status(error: Exception) -> Any:
    """The HTTP status code in an error of Amazon's, Google's or Beam's client, if there is one."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return getattr(error, "code", None)


def _is_about_access(error: Exception) -> bool:
    return _status(error) in (401, 403) or bool(re.search("Credential|Refresh", type(error).__name__))


def before_magic(pattern: str) -> str:
    """The part of a glob that stands before its first wildcard."""
    return pattern[: min((pattern.index(c) for c in "*?[" if c in pattern), default=len(pattern))]


def matcher(pattern: str) -> re.Pattern[str]:
    """A glob as Beam understands it: `*` stays within a folder, `**` does not."""
    from apache_beam.io.filesystem import FileSystem

    return re.compile(FileSystem.translate_pattern(pattern))


class _BeamStore:
    """Any other file system that Beam knows: hdfs://, abfs://, or a plug-in's."""

    def __init__(self, scheme: str) -> None:
        try:
            filesystems().get_filesystem(f"{scheme}://")
        except ValueError:
            raise StorageError(f"{scheme}:// is no kind of path that Apache Beam knows here") from None

    def list(self, pattern: str) -> Iterator[Stored]:
        (found,) = filesystems().match([pattern])
        for metadata in found.metadata_list:
            yield Stored(metadata.path, metadata.size_in_bytes, metadata.last_updated_in_seconds or 0.0)

    def find(self, path: str) -> Stored | None:
        return next(self.list(path), None)

    def read(self, path: str, offset: int, size: int) -> bytes:
        with filesystems().open(path, compression_type="uncompressed") as file:
            if offset:
                file.seek(offset)
            return file.read(size) if size >= 0 else file.read()

    def write(self, path: str, file: BinaryIO, temporary: str) -> None:
        try:
            with filesystems().create(temporary, compression_type="uncompressed") as target:
                shutil.copyfileobj(file, target, 1 << 20)
            filesystems().rename([temporary], [path])
        except BaseException:
            with contextlib.suppress(Exception):  # there may be none yet, or the store may be what is gone
                self.delete(temporary)
            raise

    def delete(self, path: str) -> None:
        if self.find(path):
            filesystems().delete([path])
