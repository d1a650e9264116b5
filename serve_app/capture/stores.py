"""Where the log's files go: a folder or a bucket. A file appears whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

from serve_app.errors import LogUnavailable


class Store(Protocol):
    """Takes files by key; a key is a relative path with forward slashes."""

    def put(self, key: str, content: bytes) -> None:
        """Write a file; writing it again does no harm.

        Raises:
            LogUnavailable: the disk or S3 did not do its part.
        """


def open_store(uri: str) -> Store:
    """The store at `s3://bucket/prefix`, `file:///folder` or a folder's path; nothing is asked of it yet."""
    if uri.startswith("s3://"):
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        return S3Store(bucket, prefix.strip("/"))
    return FolderStore(Path(url2pathname(urlsplit(uri).path) if uri.startswith("file://") else uri))


class FolderStore:
    """A folder, made when the first file comes."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, key: str, content: bytes) -> None:
        """Write beside the final name, hidden from readers, then rename."""
        path = self._root / key
        part = path.with_name(f".{path.name}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError as error:
            with suppress(OSError):  # a full disk is the fuller for half a file
                part.unlink(missing_ok=True)
            raise LogUnavailable(
                f"{path} cannot be written: {error.strerror}; free space there, or let this process write"
            ) from error


class S3Store:
    """Below `s3://bucket/prefix`. Endpoint, region and credentials are found by boto3."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self._bucket, self._prefix = bucket, f"{prefix}/" if prefix else ""
        self._made: Any = None

    def put(self, key: str, content: bytes) -> None:
        """Put one object."""
        with self._translated(key):
            self._client().put_object(Bucket=self._bucket, Key=self._prefix + key, Body=content)

    def _client(self) -> Any:
        if self._made is None:
            import boto3
            from botocore.config import Config

            # The caller tries again for as long as it takes, so one attempt is short.
            config = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=20)
            self._made = boto3.session.Session().client("s3", config=config)
        return self._made

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        where = f"s3://{self._bucket}/{self._prefix}{key}"
        try:
            yield
        except ClientError as error:
            code = error.response["Error"]["Code"]
            raise LogUnavailable(
                f"{where}: S3 answered {code}; check the bucket, and that s3:PutObject is allowed there"
            ) from error
        except BotoCoreError as error:
            raise LogUnavailable(
                f"{where}: {error}; check the network, the credentials and AWS_ENDPOINT_URL"
            ) from error
