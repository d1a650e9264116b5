"""`publish`: a bundle put into the folder that ships, beside the model card that lies there."""

import shutil
from pathlib import Path

from serve_app.model.bundle import MANIFEST, BundleManifest, read_manifest, rewrite_manifest, verify


def publish(bundle: Path, to: Path) -> BundleManifest:
    """Copy a verified bundle and write its manifest anew, so that it covers the model card there, too.

    Args:
        bundle: What `fit` wrote.
        to: Made if missing. Files of it that the bundle does not have stay.

    Raises:
        serve_app.errors.BundleError: The bundle is not what its manifest says.
    """
    manifest = read_manifest(bundle)
    verify(bundle, manifest)
    to.mkdir(parents=True, exist_ok=True)
    for name in manifest.files:
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle / name, to / name)
    (to / MANIFEST).unlink(missing_ok=True)
    return rewrite_manifest(to, manifest)
