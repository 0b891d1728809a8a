"""Access to Amazon S3 and compatible stores by boto3.

Beam's own file system creates a client for each call (0.1 s of processor time), reads 16 MB at a time, keeps
a whole listing in memory, and retries for hours when it is denied access.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import boto3
from apache_beam.options.pipeline_options import PipelineOptions, S3Options
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

from preprocess.storage.base import CONNECTIONS, Store, Stored, compile_glob, glob_prefix

# Anything below 1 GiB is uploaded in one request. The parts of a multipart upload would remain, and be
# billed, if the job were killed before its end.
_SINGLE_REQUEST = TransferConfig(multipart_threshold=1 << 30, multipart_chunksize=1 << 28, use_threads=False)


class S3Store(Store):
    """The store of s3:// paths.

    Beam's --s3_… flags give the endpoint and the credentials. Without them, boto3 uses its own defaults.
    """

    def __init__(self, options: PipelineOptions) -> None:
        s3_options = options.view_as(S3Options)
        self._client = boto3.session.Session().client(
            "s3",
            region_name=s3_options.s3_region_name,
            api_version=s3_options.s3_api_version,
            use_ssl=not s3_options.s3_disable_ssl,
            verify=s3_options.s3_verify,
            endpoint_url=s3_options.s3_endpoint_url,
            aws_access_key_id=s3_options.s3_access_key_id,
            aws_secret_access_key=s3_options.s3_secret_access_key,
            aws_session_token=s3_options.s3_session_token,
            config=Config(max_pool_connections=CONNECTIONS),
        )

    def list(self, pattern: str) -> Iterator[Stored]:
        """Implements `Store.list`."""
        bucket, prefix = _split(glob_prefix(pattern))
        matches = compile_glob(pattern).match
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for item in (item for page in pages for item in page.get("Contents", [])):
            path = f"s3://{bucket}/{item['Key']}"
            if matches(path):
                yield Stored(path, item["Size"], item["LastModified"].timestamp())

    def find(self, path: str) -> Stored | None:
        """Implements `Store.find`."""
        bucket, key = _split(path)
        try:
            head = self._client.head_object(Bucket=bucket, Key=key)
        except self._client.exceptions.ClientError as e:
            if e.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return None
            raise
        return Stored(path, head["ContentLength"], head["LastModified"].timestamp())

    def read(self, path: str, offset: int, size: int) -> bytes:
        """Implements `Store.read`."""
        if size == 0:
            return b""
        bucket, key = _split(path)
        byte_range: dict[str, Any] = {}
        if offset or size > 0:
            byte_range["Range"] = f"bytes={offset}-{offset + size - 1 if size > 0 else ''}"
        return self._client.get_object(Bucket=bucket, Key=key, **byte_range)["Body"].read()

    def write(self, path: str, file: BinaryIO, temporary: str) -> None:
        """Implements `Store.write`. An object appears only when its upload is complete."""
        bucket, key = _split(path)
        self._client.upload_fileobj(file, bucket, key, Config=_SINGLE_REQUEST)

    def delete(self, path: str) -> None:
        """Implements `Store.delete`."""
        bucket, key = _split(path)
        self._client.delete_object(Bucket=bucket, Key=key)


def _split(path: str) -> tuple[str, str]:
    """Returns the bucket and the key of an s3:// path."""
    bucket, _, key = path.removeprefix("s3://").partition("/")
    return bucket, key
