"""Location of labelled texts: lists the files of a path, a folder, an s3:// prefix or an hf: data set."""

import logging
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from train.errors import DataError

_KINDS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".xlsx": "xlsx",
}
FORMATS = (*_KINDS, *(f"{suffix}.gz" for suffix in (".csv", ".tsv", ".jsonl", ".ndjson", ".json")))

_log = logging.getLogger(__name__)


def format_of(file: str) -> str:
    """Return the format of a file by its name: csv, jsonl, json, parquet or xlsx."""
    return _KINDS[PurePosixPath(file.lower().removesuffix(".gz")).suffix]


def join(root: str, name: str) -> str:
    """Return the path or URI of `name` below `root`; a URI or an absolute path is returned unchanged."""
    if is_remote(name) or Path(name).is_absolute():
        return name
    return f"{root.rstrip('/')}/{name}" if root else name


def is_remote(address: str) -> bool:
    """Return whether the location is a URI of a store, not a local path."""
    return address.startswith(("s3://", "hf:"))


def absolute(address: str) -> str:
    """Return the absolute path or URI, which does not depend on the working folder."""
    return address if is_remote(address) else str(Path(address).absolute())


def copy_to(source: Path, address: str) -> None:
    """Copy a file, or the contents of a folder, to a path or a store. Raises OSError if this fails."""
    from pyarrow.fs import LocalFileSystem, copy_files

    system, target = open_filesystem(address)
    if not is_remote(address):
        Path(target).parent.mkdir(parents=True, exist_ok=True)
    copy_files(str(source.resolve()), target, LocalFileSystem(), system)


def list_files(address: str) -> list[str]:
    """Return all files of a known format at a location, sorted; log the ignored ones.

    Args:
        address: Path, `s3://bucket/prefix`, or `hf:organisation/dataset[@revision][/path]`, which is first
            downloaded into the hub's own cache. Hidden files are excluded.

    Raises:
        DataError: There is no such file, or the store cannot be reached.
    """
    from pyarrow.fs import FileSelector, FileType

    if address.startswith("hf:"):
        address = _from_hub(address)
    system, path = open_filesystem(address)
    scheme = "s3://" if address.startswith("s3://") else ""
    try:
        here = system.get_file_info(path)
        if here.type == FileType.NotFound:
            raise DataError(f"{address} does not exist; check --data and the settings' `file`")
        if here.type == FileType.File:
            paths = [path]
        else:
            below = system.get_file_info(FileSelector(path, recursive=True))
            paths = [
                info.path for info in below if info.type == FileType.File and not _hidden(info.path, path)
            ]
    except OSError as error:
        raise DataError(f"{address} cannot be listed: {error}") from error
    files = sorted(file for file in paths if file.lower().endswith(FORMATS))
    if not files:
        raise DataError(
            f"{address} has no file with one of the suffixes {', '.join(FORMATS)}; it has "
            f"{_some(paths) or 'no files'}"
        )
    if ignored := sorted(set(paths) - set(files)):
        warn_once(f"{address}: reading {_some(files)}; ignored because of their suffix: {_some(ignored)}")
    return [f"{scheme}{file}" for file in files]


def open_filesystem(address: str) -> tuple[Any, str]:
    """Return the `pyarrow.fs.FileSystem` of a path or an s3:// URI, and the path in it.

    S3 is accessed in the same way as by boto3: credentials, AWS_REGION and AWS_ENDPOINT_URL from the
    environment.
    """
    from pyarrow.fs import LocalFileSystem, S3FileSystem

    if not address.startswith("s3://"):
        return LocalFileSystem(), str(Path(address).absolute())
    environment = os.environ
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    scheme, _, host = (endpoint or "").rpartition("://")
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    options = {
        "endpoint_override": host or None,
        "scheme": scheme or None,
        "region": region,
        "allow_bucket_creation": False,
    }
    system = S3FileSystem(**{name: value for name, value in options.items() if value is not None})
    return system, address.removeprefix("s3://").rstrip("/")


def _some(files: Sequence[str]) -> str:
    """Return the names of some files, and the number of further ones."""
    names = ", ".join(PurePosixPath(file).name for file in files[:5])
    return f"{names} and {len(files) - 5} more" if len(files) > 5 else names


@lru_cache(maxsize=64)
def warn_once(message: str) -> None:
    """Log a warning once, even if a file is read several times."""
    _log.warning(message)


def _hidden(path: str, below: str) -> bool:
    return any(part.startswith((".", "_")) for part in PurePosixPath(path).relative_to(below).parts)


def _from_hub(address: str) -> str:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repo, _, revision_path = address.removeprefix("hf:").partition("@")
    organisation, _, rest = repo.partition("/")
    name, _, inside = rest.partition("/")
    revision, _, inside_revision = revision_path.partition("/")
    inside = inside or inside_revision
    if not organisation or not name:
        raise DataError(f"{address!r} is not hf:organisation/dataset[@revision][/path]")
    patterns = [f"{inside}*" if inside else f"*{suffix}" for suffix in FORMATS]
    try:
        folder = snapshot_download(
            f"{organisation}/{name}",
            repo_type="dataset",
            revision=revision or None,
            allow_patterns=patterns,
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise DataError(f"{address} cannot be fetched from the hub: {error}") from error
    return str(Path(folder) / inside)
