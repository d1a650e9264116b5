"""Conversion of versions to and from MLflow's tags."""

import json
from collections.abc import Mapping

from serve_app.model.bundle import BundleManifest
from train.registry.mlflow_backend import Entry
from train.registry.references import Parent, Version
from train.registry.run_metadata import Evidence

TAG = "bundle."  # prefix of this project's tags, because others may use the same MLflow


def as_version(entry: Entry, pointing: tuple[str, ...], figures: Mapping[str, float]) -> Version:
    """Return the version of an entry with this project's tags."""
    tags = {key.removeprefix(TAG): value for key, value in entry.tags.items() if key.startswith(TAG)}
    name, _, version = tags.get("parent", "").rpartition("/")
    return Version(
        name=entry.name,
        version=tags["version"],
        number=entry.number,
        uri=entry.uri,
        digest=tags["digest"],
        created_at=entry.created_at,
        run_id=entry.run_id,
        aliases=pointing,
        parent=Parent(name, version, tags.get("parent_digest")) if name else None,
        source=tags.get("source"),
        data_digest=tags.get("data_digest"),
        code_commit=tags.get("code_commit"),
        metrics=figures,
    )


def as_tags(manifest: BundleManifest, evidence: Evidence, source: str | None) -> dict[str, str]:
    """Return the tags that `as_version` reads, and MLflow's tag of the commit."""
    parent = evidence.parent
    values = {
        "version": manifest.version,
        "digest": manifest.digest,
        "labels": json.dumps(manifest.labels),
        "data_digest": manifest.data_digest,
        "code_commit": manifest.code_commit,
        "parent": str(parent) if parent else None,
        "parent_digest": parent.digest if parent else None,
        "source": source,
    }
    tags = {f"{TAG}{key}": value for key, value in values.items() if value}
    return tags | ({"mlflow.source.git.commit": manifest.code_commit} if manifest.code_commit else {})
