"""A version as MLflow keeps it: its tags, and what is read from them."""

import json
from collections.abc import Mapping

from serve_app.model.bundle import BundleManifest
from train.registry.evidence import Evidence
from train.registry.tracking import Entry
from train.registry.versions import Parent, Version

TAG = "bundle."  # in front of our tags, as others may use the same MLflow


def as_version(entry: Entry, pointing: tuple[str, ...], figures: Mapping[str, float]) -> Version:
    """The version of an entry that has our tags."""
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
    """What `as_version` reads, and MLflow's own tag for the commit."""
    parent = evidence.parent
    said = {
        "version": manifest.version,
        "digest": manifest.digest,
        "labels": json.dumps(manifest.labels),
        "data_digest": manifest.data_digest,
        "code_commit": manifest.code_commit,
        "parent": str(parent) if parent else None,
        "parent_digest": parent.digest if parent else None,
        "source": source,
    }
    tags = {f"{TAG}{key}": value for key, value in said.items() if value}
    return tags | ({"mlflow.source.git.commit": manifest.code_commit} if manifest.code_commit else {})
