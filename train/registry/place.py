"""Where bundles, runs and records lie: a folder or a bucket, behind the same five calls."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

from train.errors import RegistryRefused

ARTIFACTS_VARIABLE = "SENTIMENT_REGISTRY_ARTIFACTS"


@dataclass(frozen=True, slots=True)
class Stored:
    """A small document as it was read."""

    content: bytes
    tag: str
    """Changes with the content; what `swap` compares."""


class Place(Protocol):
    """Files by key; a key is a relative path with forward slashes."""

    @property
    def remote(self) -> bool:
        """Whether other machines read it, too."""

    def uri(self, key: str) -> str:
        """The absolute address of a key or of a folder of keys."""

    def put(self, key: str, source: Path) -> None:
        """Copy a file here; it appears whole or not at all, and takes the place of what was there."""

    def read(self, key: str) -> Stored | None:
        """A small document; None if there is none."""

    def swap(self, key: str, content: bytes, *, tag: str | None) -> bool:
        """Write a document if it is still the one with this tag, or, with None, if there is none.

        Returns:
            Whether it is written; False if somebody else wrote first. Writers who must know which one of
            them it was write different bytes.
        """

    def keys(self, folder: str) -> Sequence[str]:
        """Keys of the documents directly in a folder, sorted."""


def open_place(address: str) -> Place:
    """The place at `s3://bucket/prefix`, `file:///folder` or a folder's path, which is made when needed.

    Raises:
        RegistryRefused: Another kind of address.
    """
    if address.startswith("s3://"):
        from train.registry.s3_place import S3Place

        bucket, _, prefix = address.removeprefix("s3://").partition("/")
        if not bucket:
            raise RegistryRefused(f"{address!r} names no bucket; write s3://bucket/prefix")
        return S3Place(bucket, prefix.strip("/"))
    from train.registry.folder_place import FolderPlace

    parts = urlsplit(address)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return FolderPlace(Path(url2pathname(parts.path)).absolute())
    if parts.scheme:
        raise RegistryRefused(
            f"artifacts cannot lie at {address!r}; write s3://bucket/prefix, file:///folder or a path"
        )
    return FolderPlace(Path(address).absolute())
