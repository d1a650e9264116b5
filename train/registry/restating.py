"""A bundle's files in another folder, under another name, version, base address or labels.

The weights stay as they are; the manifest, and with it the digest, becomes another.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from serve_app.model.bundle import BaseRef, BundleManifest, rewrite_manifest
from train.errors import RegistryRefused


def restate(
    source: Path,
    manifest: BundleManifest,
    to: Path,
    *,
    name: str | None = None,
    version: str | None = None,
    base: str | None = None,
    labels: Sequence[str] | None = None,
) -> BundleManifest:
    """Copy the files a manifest lists into the empty folder `to`, and say there what is changed.

    Args:
        source: Where the files are, verified; links are followed.
        manifest: What is kept where no argument says otherwise.
        to: Made if missing.
        name: The model's name.
        version: The version.
        base: Where the adapter's base lies: the same files at another address.
        labels: New names for the classes, in the order of the logits.

    Raises:
        RegistryRefused: A base for whole weights, or another number of labels.
        serve_app.errors.BundleInvalid: The arguments do not make a bundle.
    """
    if base is not None and manifest.base is None:
        raise RegistryRefused(f"{source} holds whole weights, which need no base; leave the base out")
    if labels is not None and len(labels) != len(manifest.labels):
        raise RegistryRefused(
            f"{source} has {len(manifest.labels)} classes, {list(manifest.labels)}; got {len(labels)} "
            f"labels, {list(labels)}: name each, in that order"
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
