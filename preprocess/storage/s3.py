"""Amazon's object store and its like, spoken to directly.

Beam's own file system makes a client for each call (0.1 s of processor time), reads 16 MB at a time, keeps a
whole listing in memory, and tries for hours to reach a store that does not let it in.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import boto3
from apache_beam.options.pipeline_options import PipelineOptions, S3Options
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

from preprocess.storage.registry import CONNECTIONS, Stored, before_magic, matcher

# One request for anything below 1 GiB: a job killed while it uploads in parts leaves them there, to be paid.
_IN_ONE_PIECE = TransferConfig(multipart_threshold=1 << 30, multipart_chunksize=1 << 28, use_threads=False)


class S3:
    """The store of s3:// paths; endpoint and keys from Beam's --s3_… flags, or where boto3 looks for them."""

    def __init__(self, options: PipelineOptions) -> None:
        given = options.view_as(S3Options)
        self._client = boto3.session.Session().client(
            "s3",
            region_name=given.s3_region_name,
            api_version=given.s3_api_version,
            use_ssl=not given.s3_disable_ssl,
            verify=given.s3_verify,
            endpoint_url=given.s3_endpoint_url,
            aws_access_key_id=given.s3_access_key_id,
            aws_secret_access_key=given.s3_secret_access_key,
            aws_session_token=given.s3_session_token,
            config=Config(max_pool_connections=CONNECTIONS),
        )

    def list(self, pattern: str) -> Iterator[Stored]:
        """See `Store`."""
        bucket, prefix = _split(before_magic(pattern))
        matches = matcher(pattern).match
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for item in (item for page in pages for item in page.get("Contents", [])):
            path = f"s3://{bucket}/{item['Key']}"
            if matches(path):
                yield Stored(path, item["Size"], item["LastModified"].timestamp())

    def find(self, path: str) -> Stored | None:
        """See `Store`."""
        bucket, key = _split(path)
        try:
            head = self._client.head_object(Bucket=bucket, Key=key)
        except self._client.exceptions.ClientError as e:
            if e.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return None
            raise
        return Stored(path, head["ContentLength"], head["LastModified"].timestamp())

    def read(self, path: str, offset: int, size: int) -> bytes:
        """See `Store`."""
        if size == 0:
            return b""
        bucket, key = _split(path)
        part: dict[str, Any] = {}
        if offset or size > 0:
            part["Range"] = f"bytes={offset}-{offset + size - 1 if size > 0 else ''}"
        return self._client.get_object(Bucket=bucket, Key=key, **part)["Body"].read()

    def write(self, path: str, file: BinaryIO, temporary: str) -> None:
        """See `Store`: an object appears when its upload is complete."""
        bucket, key = _split(path)
        self._client.upload_fileobj(file, bucket, key, Config=_IN_ONE_PIECE)

    def delete(self, path: str) -> None:
        """See `Store`."""
        bucket, key = _split(path)
        self._client.delete_object(Bucket=bucket, Key=key)


def _split(path: str) -> tuple[str, str]:
    bucket, _, key = path.removeprefix("s3://").partition("/")
    return bucket, key
