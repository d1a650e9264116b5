"""Copy of a bundle with another name, version, base URI or labels.

The weights do not change; the manifest, and thus the digest, does.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from serve_app.model.bundle import BaseRef, BundleManifest, rewrite_manifest
from train.errors import RegistryRequestError


def rebundle(
    source: Path,
    manifest: BundleManifest,
    to: Path,
    *,
    name: str | None = None,
    version: str | None = None,
    base: str | None = None,
    labels: Sequence[str] | None = None,
) -> BundleManifest:
    """Copy the files of a manifest to the empty folder `to`, and write a manifest with the changes.

    Args:
        source: Folder of the verified files; links are followed.
        manifest: Manifest of the bundle, whose fields are the defaults of the arguments.
        to: New folder; created if missing.
        name: Name of the model.
        version: Version of the model.
        base: URI of the adapter's base, with the same files.
        labels: New labels in the order of the logits.

    Raises:
        RegistryRequestError: A base was given for full weights, or the number of labels differs.
        serve_app.errors.InvalidBundleError: The arguments are not those of a bundle.
    """
    if base is not None and manifest.base is None:
        raise RegistryRequestError(f"{source} holds full weights, which need no base; omit the base")
    if labels is not None and len(labels) != len(manifest.labels):
        raise RegistryRequestError(
            f"{source} has {len(manifest.labels)} classes, {list(manifest.labels)}; got {len(labels)} "
            f"labels, {list(labels)}; expected one label per class, in that order"
        )
    for file in manifest.files:
        (to / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / file, to / file)
    reference = manifest.base
    if base is not None and reference is not None:
        reference = BaseRef(uri=base, sha256=reference.sha256)
    return rewrite_manifest(
        to,
        manifest,
        name=name or manifest.name,
        version=version or manifest.version,
        labels=labels or manifest.labels,
        base=reference,
    )
