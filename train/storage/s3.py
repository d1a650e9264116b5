"""Object store of the registry in S3: atomic objects, compare-and-swap by conditional writes.

S3 supports conditional writes (`If-Match`, `If-None-Match`) and is strongly consistent: see "Conditional
writes" and "Amazon S3 data consistency model" in its user guide.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from train.errors import RegistryUnavailableError
from train.storage.base import Stored

_CONFLICT_TRIES = 5  # S3 answers 409 during another conditional write, which should be retried


class S3Place:
    """Store below `s3://bucket/prefix`. boto3 resolves endpoint, region and credentials. Thread-safe."""

    def __init__(self, bucket: str, prefix: str) -> None:
        import boto3
        from botocore.config import Config

        self._bucket, self._prefix = bucket, f"{prefix}/" if prefix else ""
        config = Config(retries={"mode": "standard", "max_attempts": 5}, connect_timeout=5, read_timeout=60)
        with self._translated(""):
            self._client: Any = boto3.session.Session().client("s3", config=config)

    @property
    def remote(self) -> bool:
        """True: every machine with the permission can read the bucket."""
        return True

    def uri(self, key: str) -> str:
        """Return the URI, `s3://…`."""
        return f"s3://{self._bucket}/{self._prefix}{key}"

    def put(self, key: str, source: Path) -> None:
        """Upload a file, in parts if it is large; the object appears with the last part."""
        with self._translated(key):
            self._client.upload_file(str(source), self._bucket, self._prefix + key)

    def read(self, key: str) -> Stored | None:
        """Return a small document, or None if it does not exist."""
        with self._translated(key):
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
            except self._client.exceptions.NoSuchKey:
                return None
            with closing(answer["Body"]) as body:
                return Stored(body.read(), answer["ETag"])

    def swap(self, key: str, content: bytes, *, tag: str | None) -> bool:
        """Write a document if the stored one has this tag; otherwise return False.

        If the response to a write is lost, botocore retries, and its own first write makes the retry fail.
        Therefore the document is read after a failure: if it is `content`, which is unique to this writer, it
        was written.
        """
        from botocore.exceptions import ClientError

        condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
        with self._translated(key):
            for _ in range(_CONFLICT_TRIES):
                try:
                    self._client.put_object(
                        Bucket=self._bucket, Key=self._prefix + key, Body=content, **condition
                    )
                    return True
                except ClientError as error:
                    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                    gone = status == 404 and error.response["Error"]["Code"] != "NoSuchBucket"
                    if status == 412 or gone:
                        stored = self.read(key)
                        return stored is not None and stored.content == content
                    if status != 409:
                        raise
        raise RegistryUnavailableError(
            f"{self.uri(key)}: {_CONFLICT_TRIES} conflicts with other writers; retry"
        )

    def keys(self, folder: str) -> Sequence[str]:
        """Return the sorted keys of the documents directly in a folder."""
        with self._translated(folder):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=f"{self._prefix}{folder}/", Delimiter="/"
            )
            found = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        return sorted(str(key).removeprefix(self._prefix) for key in found)

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        """Translate errors of boto3 and botocore into the registry's."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        where = self.uri(key)
        try:
            yield
        except ClientError as error:
            code = error.response["Error"]["Code"]
            denied = error.response["ResponseMetadata"]["HTTPStatusCode"] == 403
            advice = "allow s3:GetObject, PutObject and ListBucket there" if denied else "retry"
            if code == "NoSuchBucket":
                advice = "check the bucket's name and the region, or create the bucket"
            raise RegistryUnavailableError(
                f"{where}: S3 answered {code} to {error.operation_name}; {advice}"
            ) from error
        except NoCredentialsError as error:
            raise RegistryUnavailableError(
                f"{where}: no AWS credentials found; set AWS_PROFILE, or run with a role"
            ) from error
        except (BotoCoreError, Boto3Error) as error:
            raise RegistryUnavailableError(
                f"{where}: {error}; check the network and AWS_ENDPOINT_URL, then retry"
            ) from error
