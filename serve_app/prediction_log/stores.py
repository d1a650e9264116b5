"""Storage of the prediction log: a folder or an S3 bucket. A file appears completely or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

from serve_app.errors import LogUnavailableError


class Store(Protocol):
    """Stores files by key. A key is a relative path with forward slashes."""

    def put(self, key: str, content: bytes) -> None:
        """Write a file; idempotent.

        Raises:
            LogUnavailableError: The disk or S3 failed.
        """


def open_store(uri: str) -> Store:
    """Return the store at `s3://bucket/prefix`, `file:///folder` or a folder's path, without accessing it."""
    if uri.startswith("s3://"):
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        return S3Store(bucket, prefix.strip("/"))
    return FolderStore(Path(url2pathname(urlsplit(uri).path) if uri.startswith("file://") else uri))


class FolderStore:
    """Folder, created with the first file."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, key: str, content: bytes) -> None:
        """Write to a temporary file that readers ignore, then rename it."""
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
            with suppress(OSError):  # a partial file must not occupy a full disk
                part.unlink(missing_ok=True)
            raise LogUnavailableError(
                f"{path} cannot be written: {error.strerror}; free space, or give this process write "
                "permission"
            ) from error


class S3Store:
    """Objects below `s3://bucket/prefix`. boto3 resolves endpoint, region and credentials."""

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

            # The caller retries without limit, so one attempt is short.
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
            raise LogUnavailableError(
                f"{where}: S3 answered {code}; check the bucket, and that s3:PutObject is allowed there"
            ) from error
        except BotoCoreError as error:
            raise LogUnavailableError(
                f"{where}: {error}; check the network, the credentials and AWS_ENDPOINT_URL"
            ) from error
