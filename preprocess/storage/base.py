"""What all stores have in common: the `Store` protocol, its errors, and globs over remote paths."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, Protocol

CONNECTIONS = 16  # connections kept open to a store; at least as many as images are read ahead

# What gives access to a store, by scheme.
_ACCESS_ADVICE = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run: aws configure",
    "gs": "run: gcloud auth application-default login, and see that the account may use the bucket",
}


class StorageError(OSError):
    """A remote path cannot be listed, read or written. The message contains the path and the reason."""


@dataclasses.dataclass(frozen=True)
class Stored:
    """A file in a store: its size in bytes and its modification time in seconds (0 if unknown)."""

    path: str
    size: int
    modified: float


class Store(Protocol):
    """Access to remote files by their full paths.

    Implementations raise the errors of their client library; `explain_errors` translates them.
    """

    def list(self, pattern: str) -> Iterator[Stored]:
        """Yields the files that match a glob, in any order."""

    def find(self, path: str) -> Stored | None:
        """Returns the file at `path`, which is not a glob; None if there is none."""

    def read(self, path: str, offset: int, size: int) -> bytes:
        """Returns up to `size` bytes from `offset` on, or all bytes to the end of the file if size is -1."""

    def write(self, path: str, file: BinaryIO, temporary: str) -> None:
        """Copies `file` to `path` atomically; `temporary` is the path of a temporary file, if needed."""

    def delete(self, path: str) -> None:
        """Removes the file at `path`, if there is one."""


# ------------------------------------------------------------------------------------------------- errors


@contextlib.contextmanager
def explain_errors(verb: str, path: str) -> Iterator[None]:
    """Translates the errors of any client library into one sentence, "cannot `verb` `path`: ...".

    Raises:
      FileNotFoundError: the file to be read does not exist.
      StorageError: any other error. Its `strerror` is the reason alone.
    """
    try:
        yield
    except StorageError:
        raise
    except Exception as e:
        cause = _root_cause(e)
        if _http_status(cause) == 404 and verb == "read":
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from e
        if isinstance(e, FileNotFoundError):
            raise
        reason = _reason(cause)
        advice = _ACCESS_ADVICE.get(path.partition("://")[0]) if _is_access_denied(cause) else None
        error = StorageError(f"cannot {verb} {path}: {reason}" + (f"; {advice}" if advice else ""))
        error.strerror = reason  # recorded in rejects.jsonl
        raise error from e


def _root_cause(error: Exception) -> Exception:
    """Returns the innermost error. Beam wraps the error of each file in a dict of one of its own errors."""
    details = getattr(error, "exception_details", None)
    inner = next(iter(details.values()), None) if isinstance(details, dict) else None
    return _root_cause(inner) if isinstance(inner, Exception) else error


def _reason(error: Exception) -> str:
    """Returns the message of an error as one line."""
    if _http_status(error) == 404:
        return "there is no such bucket"  # a missing file is not an error in any other operation than read
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    line = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return re.sub(r"^\d{3} [A-Z]+ \S+: ", "", line)  # Google's client begins with the whole request


def _http_status(error: Exception) -> Any:
    """Returns the HTTP status code of an error of Amazon's, Google's or Beam's client; None without one."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return getattr(error, "code", None)


def _is_access_denied(error: Exception) -> bool:
    return _http_status(error) in (401, 403) or bool(re.search("Credential|Refresh", type(error).__name__))


# -------------------------------------------------------------------------------------------------- globs


def glob_prefix(pattern: str) -> str:
    """Returns the part of a glob before its first wildcard."""
    return pattern[: min((pattern.index(c) for c in "*?[" if c in pattern), default=len(pattern))]


def compile_glob(pattern: str) -> re.Pattern[str]:
    """Returns a glob as a regular expression, by Beam's rules: `*` matches within a folder, `**` across."""
    from apache_beam.io.filesystem import FileSystem

    return re.compile(FileSystem.translate_pattern(pattern))
