"""Operation `publish`: copies a bundle into the shipped folder, next to the model card there."""

import shutil
from pathlib import Path

from serve_app.model.bundle import MANIFEST, BundleManifest, read_manifest, rewrite_manifest, verify


def publish(bundle: Path, to: Path) -> BundleManifest:
    """Copy a verified bundle and rewrite its manifest, so that it includes the existing model card.

    Args:
        bundle: Bundle that `fit` wrote.
        to: Target folder, created if missing. Files in it that the bundle does not have are kept.

    Raises:
        serve_app.errors.BundleError: The bundle does not match its manifest.
    """
    manifest = read_manifest(bundle)
    verify(bundle, manifest)
    to.mkdir(parents=True, exist_ok=True)
    for name in manifest.files:
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle / name, to / name)
    (to / MANIFEST).unlink(missing_ok=True)
    return rewrite_manifest(to, manifest)
