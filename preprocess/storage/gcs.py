"""Google's object store, spoken to directly: one request where Beam's file system makes several."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import google.auth
from apache_beam.io.gcp.gcsio import create_storage_client
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
from google.cloud.exceptions import NotFound
from google.cloud.storage import Blob
from google.cloud.storage.retry import DEFAULT_RETRY
from requests.adapters import HTTPAdapter

from preprocess.storage.registry import CONNECTIONS, Stored, before_magic, matcher

_SECONDS = 60.0  # for one request, tried again as Google advises until then


class GCS:
    """The store of gs:// paths; credentials as Beam finds them, none with --no_auth.

    Raises:
      DefaultCredentialsError: there are none. (Beam would look for half a minute, then go on without.)
    """

    def __init__(self, options: PipelineOptions) -> None:
        known = not options.view_as(GoogleCloudOptions).no_auth
        if known:
            google.auth.default()
        self._client = create_storage_client(options, use_credentials=known)
        for scheme in ("https://", "http://"):  # as Google's client documentation says to, for many threads
            self._client._http.mount(scheme, HTTPAdapter(pool_maxsize=CONNECTIONS))
        self._retry = DEFAULT_RETRY.with_timeout(_SECONDS)

    def list(self, pattern: str) -> Iterator[Stored]:
        """See `Store`."""
        bucket, _, prefix = before_magic(pattern).removeprefix("gs://").partition("/")
        matches = matcher(pattern).match
        fields = "items(name,size,updated),nextPageToken"
        for blob in self._client.list_blobs(bucket, prefix=prefix, fields=fields, retry=self._retry):
            path = f"gs://{bucket}/{blob.name}"
            if matches(path):
                yield Stored(path, blob.size, blob.updated.timestamp())

    def find(self, path: str) -> Stored | None:
        """See `Store`."""
        blob = self._blob(path)
        try:
            blob.reload(retry=self._retry)
        except NotFound:
            return None
        return Stored(path, blob.size, blob.updated.timestamp())

    def read(self, path: str, offset: int, size: int) -> bytes:
        """See `Store`."""
        if size == 0:
            return b""
        start = offset if offset or size > 0 else None
        end = offset + size - 1 if size > 0 else None
        blob = self._blob(path)
        return blob.download_as_bytes(start=start, end=end, raw_download=True, retry=self._retry)

    def write(self, path: str, file: BinaryIO, temporary: str) -> None:
        """See `Store`: an object appears when its upload is complete."""
        self._blob(path).upload_from_file(file, retry=self._retry)

    def delete(self, path: str) -> None:
        """See `Store`."""
        try:
            self._blob(path).delete(retry=self._retry)
        except NotFound:
            return

    def _blob(self, path: str) -> Blob:
        bucket, _, name = path.removeprefix("gs://").partition("/")
        return self._client.bucket(bucket).blob(name)
