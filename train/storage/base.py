"""Object store of bundles, runs and records: a folder or an S3 bucket with a common interface."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

from train.errors import RegistryRequestError

ARTIFACTS_VARIABLE = "SENTIMENT_REGISTRY_ARTIFACTS"


@dataclass(frozen=True, slots=True)
class Stored:
    """Small document with its tag."""

    content: bytes
    tag: str
    """Tag that changes with the content; `swap` compares it."""


class Place(Protocol):
    """Object store. A key is a relative path with forward slashes."""

    @property
    def remote(self) -> bool:
        """Whether other machines can read the store."""

    def uri(self, key: str) -> str:
        """Return the URI of a key or of a folder of keys."""

    def put(self, key: str, source: Path) -> None:
        """Copy a file to the store, where it atomically replaces an existing one."""

    def read(self, key: str) -> Stored | None:
        """Return a small document, or None if it does not exist."""

    def swap(self, key: str, content: bytes, *, tag: str | None) -> bool:
        """Write a document if the stored one has this tag, or with None if it does not exist.

        Returns:
            Whether it was written; False if another writer was first. Writers that must know which of them
            succeeded write different bytes.
        """

    def keys(self, folder: str) -> Sequence[str]:
        """Return the sorted keys of the documents directly in a folder."""


def open_place(address: str) -> Place:
    """Return the store at `s3://bucket/prefix`, `file:///folder` or a folder's path, created when needed.

    Raises:
        RegistryRequestError: The URI has another scheme.
    """
    if address.startswith("s3://"):
        from train.storage.s3 import S3Place

        bucket, _, prefix = address.removeprefix("s3://").partition("/")
        if not bucket:
            raise RegistryRequestError(f"{address!r} names no bucket; write s3://bucket/prefix")
        return S3Place(bucket, prefix.strip("/"))
    from train.storage.local import FolderPlace

    parts = urlsplit(address)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return FolderPlace(Path(url2pathname(parts.path)).absolute())
    if parts.scheme:
        raise RegistryRequestError(
            f"artifacts cannot be stored at {address!r}; expected s3://bucket/prefix, file:///folder or a "
            "path"
        )
    return FolderPlace(Path(address).absolute())
