"""Artifacts of the registry: upload of bundles with the manifest last, verification, and download.

The URI of an artifact contains its digest, so its content never changes. During an upload there is a
`bundle.json` that readers reject: without it, an upload that was interrupted after the weights would be read
as a plain model.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from serve_app.errors import BundleError, StoreUnavailableError
from serve_app.model.bundle import MANIFEST, BundleManifest
from serve_app.model.resolver import fetch
from train.errors import DamagedArtifactError, RegistryRequestError, RegistryUnavailableError
from train.storage.base import Place

UNDER_WAY = b'{"upload": "under way"}\n'


def key_of(manifest: BundleManifest) -> str:
    """Return the key of a bundle's artifact."""
    return f"bundles/{manifest.name}/{manifest.version}/{manifest.digest}"


def send(place: Place, folder: Path, manifest: BundleManifest, say: Callable[[str], None]) -> str:
    """Upload a verified bundle file by file, the manifest last, and return its URI.

    Raises:
        RegistryUnavailableError: The store failed; the incomplete artifact is not served; a retry continues.
    """
    key = key_of(manifest)
    place.swap(f"{key}/{MANIFEST}", UNDER_WAY, tag=None)  # unless a manifest exists, from an earlier attempt
    for name in [*sorted(manifest.files), MANIFEST]:
        say(f"sending {name} ({(folder / name).stat().st_size:,} bytes)")
        place.put(f"{key}/{name}", folder / name)
    return place.uri(key)


def check(uri: str, digest: str) -> None:
    """Download an artifact and its base as a replica does, and verify the digests.

    Raises:
        DamagedArtifactError: The artifact is not the bundle with this digest, or cannot be loaded.
        RegistryUnavailableError: The artifact cannot be read now.
    """
    with TemporaryDirectory(prefix="registry-") as cache:
        _fetch(uri, digest, Path(cache))


def bring(uri: str, digest: str, to: Path) -> None:
    """Download a verified artifact to a new folder, which appears atomically.

    Raises:
        RegistryRequestError: `to` exists and is not empty.
        DamagedArtifactError: The artifact at `uri` is not the bundle with this digest.
        RegistryUnavailableError: The artifact cannot be read, or the disk failed.
    """
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise RegistryRequestError(f"{to} is there already; give a new folder")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{to.name}.", dir=to.parent) as staging:
            folder, manifest = _fetch(uri, digest, Path(staging) / "cache")
            draft = Path(staging) / "bundle"
            for name in [*manifest.files, MANIFEST]:
                (draft / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / name, draft / name)
            draft.replace(to)
    except OSError as error:
        raise RegistryUnavailableError(f"{to} cannot be written: {error.strerror or error}") from error


def check_base(manifest: BundleManifest, place: Place) -> None:
    """Raise `RegistryRequestError` if the artifact's readers could not find an adapter's base."""
    if manifest.base is None:
        return
    uri = manifest.base.uri
    path = uri.startswith("file:") or ":" not in uri
    advice = "copy its files to S3 and set --base to their s3:// URI, or train full weights"
    if path and place.remote:
        raise RegistryRequestError(
            f"the adapter's base is {uri!r}, a folder of this machine, and {place.uri('')} is read by "
            f"others; {advice}"
        )
    if path and not uri.startswith("file:") and not Path(uri).is_absolute():
        raise RegistryRequestError(
            f"the adapter's base is {uri!r}, a path relative to the bundle, which is copied; set --base to "
            "its absolute path"
        )


def _fetch(uri: str, digest: str, cache: Path) -> tuple[Path, BundleManifest]:
    try:
        found = fetch(uri, cache_dir=cache)
    except StoreUnavailableError as error:
        raise RegistryUnavailableError(f"{uri} cannot be read: {error}") from error
    except BundleError as error:
        raise DamagedArtifactError(f"{uri} cannot be served: {error}") from error
    if found.manifest.digest != digest:
        raise DamagedArtifactError(
            f"{uri} holds another bundle, {found.manifest.digest}, not {digest}; restore it"
        )
    return found.folder, found.manifest
