"""Download of models from S3 (`s3://`): parallel and resumable, into a cache that is keyed by content.

Objects are downloaded in chunks, several in parallel. A chunk is written to a `.part` file that is named
after the object's ETag; if the stream breaks, a Range request fetches the rest, in this process or in a later
one.
"""

import hashlib
import itertools
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from serve_app.errors import BundleNotFoundError, InvalidBundleError, StoreUnavailableError
from serve_app.model import bundle, cache, checksums, weight_files

_CHUNK_BYTES = 16 * 1024**2
_BLOCK_BYTES = 64 * 1024  # maximum loss if a stream breaks
_CONNECTIONS = 8
_STREAMS_PER_CHUNK = 5
_PARTS = ".parts"


def download(uri: str, *, cache_dir: Path) -> tuple[Path, bundle.BundleManifest | None]:
    """Return the cached folder of `s3://bucket/prefix`, after a download if it is not in the cache.

    With a `bundle.json` under the prefix, the files that it lists are downloaded and verified; without one,
    all files except pickles and hidden files. boto3 resolves endpoint, region and credentials
    (`AWS_ENDPOINT_URL` …).

    Args:
        uri: URI of the folder.
        cache_dir: Parent of the cached folders; created if missing.

    Returns:
        The folder, and its verified manifest if it has one.

    Raises:
        BundleNotFoundError: The bucket does not exist, or there are no objects under the prefix.
        InvalidBundleError: The URI or the manifest is malformed, or a listed file is missing.
        UnsafeArtifactError: The manifest lists a pickle.
        ChecksumMismatchError: An object differs from its checksum; the download is discarded.
        StoreUnavailableError: S3 or the disk failed, or access was denied.
    """
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    prefix = prefix.strip("/")
    if not bucket:
        raise InvalidBundleError(f"{uri!r} names no bucket; expected s3://bucket/prefix")
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        source = _S3Source(uri, bucket, f"{prefix}/" if prefix else "", pool)
        text = source.read(bundle.MANIFEST)
        if text is None:
            objects = source.find()
            key = hashlib.sha256(repr(objects).encode()).hexdigest()
            return cache.keep(cache_dir, key, fill=partial(source.fill, objects), check=lambda _: None), None

        manifest = bundle.parse_manifest(text, where=f"{uri}/{bundle.MANIFEST}")
        weight_files.refuse_pickles(Path(prefix), manifest.files)

        def fill(staging: Path) -> None:
            source.fill(source.stat(sorted(manifest.files)), staging)
            (staging / bundle.MANIFEST).write_bytes(text)

        check = partial(bundle.verify, manifest=manifest)
        return cache.keep(cache_dir, manifest.digest, fill=fill, check=check), manifest


@dataclass(frozen=True)
class _Object:
    name: str  # relative to the prefix
    size_bytes: int
    etag: str


@dataclass(frozen=True)
class _Chunk:
    source: _Object
    start: int
    size_bytes: int
    part: Path


class _S3Source:
    """Objects under one prefix, with the client that downloads them."""

    def __init__(self, uri: str, bucket: str, prefix: str, pool: ThreadPoolExecutor) -> None:
        import boto3
        from botocore.config import Config

        self._uri, self._bucket, self._prefix, self._pool = uri, bucket, prefix, pool
        config = Config(
            retries={"mode": "standard", "max_attempts": 5},
            connect_timeout=5,
            read_timeout=30,
            max_pool_connections=_CONNECTIONS,
            response_checksum_validation="when_required",  # the manifest's SHA-256 is checked instead
        )
        with _translated(uri):
            self._client: Any = boto3.session.Session().client("s3", config=config)

    def read(self, name: str) -> bytes | None:
        """Return the content of a small object, or None if it does not exist."""
        with _translated(self._uri):
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + name)
            except self._client.exceptions.NoSuchKey:
                return None
            with closing(answer["Body"]) as body:
                content: bytes = body.read()
            return content

    def find(self) -> Sequence[_Object]:
        """Return every object that could be part of a model, sorted by name."""
        with _translated(self._uri):
            pages = self._client.get_paginator("list_objects_v2")
            found = [
                _Object(entry["Key"].removeprefix(self._prefix), entry["Size"], entry["ETag"])
                for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix)
                for entry in page.get("Contents", ())
            ]
        selected = [
            entry
            for entry in found
            if checksums.is_safe_name(entry.name)
            and not checksums.is_hidden(entry.name)
            and not weight_files.is_pickle(entry.name)
        ]
        if not selected:
            raise BundleNotFoundError(f"no model under {self._uri} ({len(found)} objects); check the prefix")
        return sorted(selected, key=lambda entry: entry.name)

    def stat(self, names: Sequence[str]) -> Sequence[_Object]:
        """Return size and ETag of a manifest's objects, without the permission to list the bucket."""
        with _translated(self._uri):
            return list(self._pool.map(self._stat, names))

    def fill(self, objects: Sequence[_Object], staging: Path) -> None:
        """Download the objects to `staging`, continuing an earlier download there."""
        parts = staging / _PARTS
        parts.mkdir(exist_ok=True)
        chunks = {entry: _chunks(entry, parts) for entry in objects if not _is_complete(staging, entry)}
        missing = list(itertools.chain.from_iterable(chunks.values()))
        needed = sum(chunk.size_bytes - _size(chunk.part) for chunk in missing)
        if needed > (free := shutil.disk_usage(staging).free):
            raise StoreUnavailableError(
                f"{self._uri} needs {needed:,} bytes, {staging.parent} has {free:,} free; free space there, "
                "or choose another cache folder"
            )
        with _translated(self._uri):
            list(self._pool.map(self._complete, missing))
        for entry, pieces in chunks.items():
            _join(staging / entry.name, [piece.part for piece in pieces])
        shutil.rmtree(parts)

    def _stat(self, name: str) -> _Object:
        from botocore.exceptions import ClientError

        try:
            head = self._client.head_object(Bucket=self._bucket, Key=self._prefix + name)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                raise InvalidBundleError(
                    f"{name} is listed in {bundle.MANIFEST}, but is not under {self._uri}; upload the bundle "
                    "again"
                ) from error
            raise
        return _Object(name, head["ContentLength"], head["ETag"])

    def _complete(self, chunk: _Chunk) -> None:
        from botocore.exceptions import HTTPClientError, IncompleteReadError

        broken: Exception | None = None
        for _ in range(_STREAMS_PER_CHUNK):
            if (rest := self._open_rest(chunk)) is None:
                return
            try:
                with closing(rest), chunk.part.open("ab") as part:
                    for block in rest.iter_chunks(_BLOCK_BYTES):
                        part.write(block)
            except (HTTPClientError, IncompleteReadError) as error:
                broken = error
        if _size(chunk.part) != chunk.size_bytes:
            raise StoreUnavailableError(
                f"the download of {chunk.source.name} under {self._uri} broke {_STREAMS_PER_CHUNK} times, at "
                f"byte {chunk.start + _size(chunk.part)}; retry to continue from there"
            ) from broken

    def _open_rest(self, chunk: _Chunk) -> Any:
        """Open a stream of the bytes that are missing in the chunk's file; return None if it is complete."""
        if _size(chunk.part) > chunk.size_bytes:
            chunk.part.unlink()
        have = _size(chunk.part)
        if have == chunk.size_bytes:
            return None
        answer = self._client.get_object(
            Bucket=self._bucket,
            Key=self._prefix + chunk.source.name,
            IfMatch=chunk.source.etag,
            Range=f"bytes={chunk.start + have}-{chunk.start + chunk.size_bytes - 1}",
        )
        return answer["Body"]


def _chunks(source: _Object, parts: Path) -> list[_Chunk]:
    identity = hashlib.sha256(f"{source.name} {source.etag}".encode()).hexdigest()[:32]
    return [
        _Chunk(
            source, start, min(_CHUNK_BYTES, source.size_bytes - start), parts / f"{identity}-{start}.part"
        )
        for start in range(0, source.size_bytes, _CHUNK_BYTES)
    ]


def _is_complete(staging: Path, entry: _Object) -> bool:
    path = staging / entry.name
    return path.exists() and path.stat().st_size == entry.size_bytes


def _join(path: Path, parts: Sequence[Path]) -> None:
    """Concatenate the parts to `path`, which appears atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    joined = path.parent / f".{path.name}.whole"
    with joined.open("wb") as target:
        for part in parts:
            with part.open("rb") as piece:
                shutil.copyfileobj(piece, target, _BLOCK_BYTES)
    joined.replace(path)


def _size(path: Path) -> int:
    """Return the size of a file in bytes, or 0 if it does not exist."""
    return path.stat().st_size if path.exists() else 0


@contextmanager
def _translated(uri: str) -> Iterator[None]:
    """Translate botocore's errors into the service's."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    try:
        yield
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "NoSuchBucket":
            raise BundleNotFoundError(f"{uri}: no such bucket; check its name and the region") from error
        advice = {
            403: "check the credentials and the policy: s3:GetObject, and s3:ListBucket without a manifest",
            404: "it was removed during the download; retry",
            412: "it was replaced during the download; retry",
        }.get(error.response["ResponseMetadata"]["HTTPStatusCode"], "retry")
        raise StoreUnavailableError(
            f"{uri}: S3 answered {code} to {error.operation_name}; {advice}"
        ) from error
    except NoCredentialsError as error:
        raise StoreUnavailableError(
            f"{uri}: no AWS credentials found; set AWS_PROFILE, or run with a role"
        ) from error
    except BotoCoreError as error:
        raise StoreUnavailableError(
            f"{uri}: {error}; check the network and AWS_ENDPOINT_URL, then retry"
        ) from error
