"""`publish`: a bundle put into the folder that ships, beside the model card that lies there."""

import shutil
from pathlib import Path

from serve_app.model.bundle import MANIFEST, BundleManifest, read_manifest, verify, write_manifest


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
    return write_manifest(
        to,
        name=manifest.name,
        version=manifest.version,
        labels=manifest.labels,
        base=manifest.base,
        max_length=manifest.max_length,
        temperature=manifest.temperature,
        metrics=manifest.metrics,
        reference_profile=manifest.reference_profile,
        data_digest=manifest.data_digest,
        code_commit=manifest.code_commit,
    )
