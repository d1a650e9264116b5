"""A bundle's copy in the registry's place: sent with its manifest last, read back, brought home again.

The address holds the digest, so what lies there never becomes something else. While files are under way a
`bundle.json` that no reader accepts lies there: without one, a copy broken off after the weights would pass
for a plain model.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from serve_app.errors import BundleError, StoreUnavailable
from serve_app.model.bundle import MANIFEST, BundleManifest
from serve_app.model.store import fetch
from train.errors import CopyDamaged, RegistryRefused, RegistryUnavailable
from train.registry.place import Place

UNDER_WAY = b'{"upload": "under way"}\n'


def key_of(manifest: BundleManifest) -> str:
    """Where the copy of a bundle belongs."""
    return f"bundles/{manifest.name}/{manifest.version}/{manifest.digest}"


def send(place: Place, folder: Path, manifest: BundleManifest, say: Callable[[str], None]) -> str:
    """Copy a verified bundle file by file, the manifest last, and return its address.

    Raises:
        RegistryUnavailable: The place failed; what lies there is not served, and sending again goes on.
    """
    key = key_of(manifest)
    place.swap(f"{key}/{MANIFEST}", UNDER_WAY, tag=None)  # unless there is one: an earlier try's, or ours
    for name in [*sorted(manifest.files), MANIFEST]:
        say(f"sending {name} ({(folder / name).stat().st_size:,} bytes)")
        place.put(f"{key}/{name}", folder / name)
    return place.uri(key)


def check(uri: str, digest: str) -> None:
    """Fetch a copy as a replica would, its base included, and hold it against its digests.

    Raises:
        CopyDamaged: It is not the bundle with this digest, or cannot be loaded from there.
        RegistryUnavailable: It cannot be read now.
    """
    with TemporaryDirectory(prefix="registry-") as cache:
        _fetch(uri, digest, Path(cache))


def bring(uri: str, digest: str, to: Path) -> None:
    """Put a verified copy into a new folder, which appears whole.

    Raises:
        RegistryRefused: There is something at `to`.
        CopyDamaged: What lies at `uri` is not the bundle with this digest.
        RegistryUnavailable: It cannot be read, or the disk failed.
    """
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise RegistryRefused(f"{to} is there already; give a new folder")
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
        raise RegistryUnavailable(f"{to} cannot be written: {error.strerror or error}") from error


def check_base(manifest: BundleManifest, place: Place) -> None:
    """Raise `RegistryRefused` if an adapter's base could not be found by who loads the copy."""
    if manifest.base is None:
        return
    uri = manifest.base.uri
    path = uri.startswith("file:") or ":" not in uri
    advice = "bring its files to an s3:// address and say so with --base, or train whole weights"
    if path and place.remote:
        raise RegistryRefused(
            f"the adapter's base is {uri!r}, a folder of this machine, and {place.uri('')} is read by "
            f"others; {advice}"
        )
    if path and not uri.startswith("file:") and not Path(uri).is_absolute():
        raise RegistryRefused(
            f"the adapter's base is {uri!r}, a path relative to the bundle, which is copied; say where it "
            "is with --base and an absolute path"
        )


def _fetch(uri: str, digest: str, cache: Path) -> tuple[Path, BundleManifest]:
    try:
        found = fetch(uri, cache_dir=cache)
    except StoreUnavailable as error:
        raise RegistryUnavailable(f"{uri} cannot be read: {error}") from error
    except BundleError as error:
        raise CopyDamaged(f"{uri} cannot be served: {error}") from error
    if found.manifest.digest != digest:
        raise CopyDamaged(f"{uri} holds another bundle, {found.manifest.digest}, not {digest}; restore it")
    return found.folder, found.manifest
