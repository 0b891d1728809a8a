"""Access to hdfs://, abfs:// and every other file system that Beam supports, by way of Beam."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import BinaryIO

from apache_beam.io.filesystems import FileSystems

from preprocess.storage.base import StorageError, Store, Stored


class BeamStore(Store):
    """The store of all paths of one scheme.

    Raises:
      StorageError: Beam supports no such scheme, also by no plug-in.
    """

    def __init__(self, scheme: str) -> None:
        try:
            FileSystems.get_filesystem(f"{scheme}://")
        except ValueError:
            raise StorageError(
                f"{scheme}:// is not supported: Apache Beam has no file system for it here"
            ) from None

    def list(self, pattern: str) -> Iterator[Stored]:
        """Implements `Store.list`."""
        (match,) = FileSystems.match([pattern])
        for metadata in match.metadata_list:
            yield Stored(metadata.path, metadata.size_in_bytes, metadata.last_updated_in_seconds or 0.0)

    def find(self, path: str) -> Stored | None:
        """Implements `Store.find`."""
        return next(self.list(path), None)

    def read(self, path: str, offset: int, size: int) -> bytes:
        """Implements `Store.read`."""
        with FileSystems.open(path, compression_type="uncompressed") as file:
            if offset:
                file.seek(offset)
            return file.read(size) if size >= 0 else file.read()

    def write(self, path: str, file: BinaryIO, temporary: str) -> None:
        """Implements `Store.write` by writing the temporary file and renaming it."""
        try:
            with FileSystems.create(temporary, compression_type="uncompressed") as target:
                shutil.copyfileobj(file, target, 1 << 20)
            FileSystems.rename([temporary], [path])
        except BaseException:
            with contextlib.suppress(Exception):  # it may not exist, or the store may be unreachable
                self.delete(temporary)
            raise

    def delete(self, path: str) -> None:
        """Implements `Store.delete`."""
        if self.find(path):
            FileSystems.delete([path])
