"""Access to Google Cloud Storage by Google's client, which needs one request where Beam needs several."""

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

from preprocess.storage.base import CONNECTIONS, Store, Stored, compile_glob, glob_prefix

_TIMEOUT_SECONDS = 60.0  # for one operation with its retries, which follow Google's recommendation


class GCSStore(Store):
    """The store of gs:// paths. Credentials are found as Beam finds them; --no_auth uses none.

    Raises:
      DefaultCredentialsError: there are no credentials. Beam alone would search for half a minute, then
        continue without any.
    """

    def __init__(self, options: PipelineOptions) -> None:
        use_credentials = not options.view_as(GoogleCloudOptions).no_auth
        if use_credentials:
            google.auth.default()
        self._client = create_storage_client(options, use_credentials=use_credentials)
        # The client's own pool is smaller than the number of threads. Its documentation recommends this.
        for scheme in ("https://", "http://"):
            self._client._http.mount(scheme, HTTPAdapter(pool_maxsize=CONNECTIONS))
        self._retry = DEFAULT_RETRY.with_timeout(_TIMEOUT_SECONDS)

    def list(self, pattern: str) -> Iterator[Stored]:
        """Implements `Store.list`."""
        bucket, _, prefix = glob_prefix(pattern).removeprefix("gs://").partition("/")
        matches = compile_glob(pattern).match
        fields = "items(name,size,updated),nextPageToken"
        for blob in self._client.list_blobs(bucket, prefix=prefix, fields=fields, retry=self._retry):
            path = f"gs://{bucket}/{blob.name}"
            if matches(path):
                yield Stored(path, blob.size, blob.updated.timestamp())

    def find(self, path: str) -> Stored | None:
        """Implements `Store.find`."""
        blob = self._blob(path)
        try:
            blob.reload(retry=self._retry)
        except NotFound:
            return None
        return Stored(path, blob.size, blob.updated.timestamp())

    def read(self, path: str, offset: int, size: int) -> bytes:
        """Implements `Store.read`."""
        if size == 0:
            return b""
        start = offset if offset or size > 0 else None
        end = offset + size - 1 if size > 0 else None
        blob = self._blob(path)
        return blob.download_as_bytes(start=start, end=end, raw_download=True, retry=self._retry)

    def write(self, path: str, file: BinaryIO, temporary: str) -> None:
        """Implements `Store.write`. An object appears only when its upload is complete."""
        self._blob(path).upload_from_file(file, retry=self._retry)

    def delete(self, path: str) -> None:
        """Implements `Store.delete`."""
        try:
            self._blob(path).delete(retry=self._retry)
        except NotFound:
            return

    def _blob(self, path: str) -> Blob:
        bucket, _, name = path.removeprefix("gs://").partition("/")
        return self._client.bucket(bucket).blob(name)
