"""Chooses the store for a remote path by its scheme: s3://, gs://, or any other that Beam supports."""

from __future__ import annotations

import functools
import importlib
import threading

from preprocess.cli import install_command
from preprocess.storage.base import StorageError, Store

# The module that each scheme needs, and the extra of linewash that installs it.
_REQUIREMENTS = {"s3": ("boto3", "aws"), "gs": ("google.cloud.storage", "gcp")}
_creation_lock = threading.Lock()


def set_options(flags: list[str]) -> None:
    """Applies Beam's flags (credentials, endpoints) to all stores. In its workers, Beam does this itself."""
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions

    FileSystems.set_options(PipelineOptions(flags))
    _store_for_scheme.cache_clear()


def store(path: str) -> Store:
    """Returns the store of a remote path. There is one store, with one client, per scheme.

    Raises:
      StorageError: no store serves the scheme, or an extra of linewash is not installed.
    """
    with _creation_lock:  # `cache` alone would let readers that start together create one client each
        return _store_for_scheme(path.partition("://")[0])


@functools.cache
def _store_for_scheme(scheme: str) -> Store:
    # Imported on first use: Beam takes most of a second.
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions

    _check_requirement(scheme)
    options = FileSystems._pipeline_options or PipelineOptions([])
    if scheme == "s3":
        from preprocess.storage.s3 import S3Store

        return S3Store(options)
    if scheme == "gs":
        from preprocess.storage.gcs import GCSStore

        return GCSStore(options)
    from preprocess.storage.beam import BeamStore

    return BeamStore(scheme)


def _check_requirement(scheme: str) -> None:
    module, extra = _REQUIREMENTS.get(scheme, ("", ""))
    try:
        if module:
            importlib.import_module(module)
    except ImportError:
        raise StorageError(
            f"{scheme}:// needs {module}, which is not installed: run {install_command(extra)}"
        ) from None
