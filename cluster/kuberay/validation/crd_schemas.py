"""Closed schemas of every kind: from CRDs, and from the official client's models for built-in kinds.

The API server silently drops fields that a schema does not name. These schemas reject them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cluster.errors import ManifestError

Schema = dict[str, Any]
Key = tuple[str, str]
"""apiVersion and kind."""

_INT32 = (-(2**31), 2**31 - 1)
_DROPPED = {"default", "description", "title", "example", "externalDocs", "nullable"}
_KEPT = {
    "type", "format", "enum", "pattern", "required", "minimum", "maximum", "multipleOf", "exclusiveMinimum",
    "exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems", "uniqueItems", "minProperties",
    "maxProperties",
}  # fmt: skip
_METADATA: Schema = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", "maxLength": 253},
        "namespace": {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
        "finalizers": {"type": "array", "items": {"type": "string"}},
        "ownerReferences": {"type": "array", "items": {"type": "object"}},
    },
}
"""Metadata fields that a manifest may set; the others are set by the server."""


@dataclass(frozen=True)
class KindSchema:
    """Schema of a kind.

    Attributes:
        source: Schema in the CRD, for defaults; None for built-in kinds.
        closed: JSON Schema (2020-12) that rejects what the server would drop or reject.
        unread_rules: Number of CEL rules of the CRD, which only the server evaluates.
    """

    source: Schema | None
    closed: Schema
    unread_rules: int = 0


def read_crds(folder: Path) -> list[Schema]:
    """Return every CustomResourceDefinition in the YAML files of a folder and its subfolders.

    Raises:
        ManifestError: There is none, or a file is not YAML.
    """
    found: list[Schema] = []
    for path in sorted(folder.rglob("*.y*ml")):
        try:
            documents = list(yaml.load_all(path.read_text(encoding="utf-8"), _LOADER))
        except yaml.YAMLError as error:
            raise ManifestError(f"{path} is not YAML: {error}") from error
        found += [
            one
            for one in documents
            if isinstance(one, dict) and one.get("kind") == "CustomResourceDefinition"
        ]
    if not found:
        raise ManifestError(
            f"no CustomResourceDefinition in {folder}; KubeRay's are in its repository under "
            "ray-operator/config/crd/bases; omit --crds to use those of the cluster"
        )
    return found


def schemas_of(crds: Iterable[Mapping[str, Any]]) -> dict[Key, KindSchema]:
    """Return a schema for each version of each CRD."""
    found: dict[Key, KindSchema] = {}
    for crd in crds:
        spec = crd["spec"]
        for version in spec["versions"]:
            source = version["schema"]["openAPIV3Schema"]
            closed = _close(source)
            closed["properties"] = {**closed["properties"], "metadata": _METADATA}
            closed["required"] = sorted(
                {*closed.get("required", []), "apiVersion", "kind", "metadata", "spec"}
            )
            key = (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
            found[key] = KindSchema(source, closed, _count_rules(source))
    return found


def builtin_schema(api_version: str, kind: str) -> KindSchema | None:
    """Return the schema of a built-in kind from the official client, or None if it is not supported."""
    from kubernetes import client

    group, _, version = api_version.rpartition("/")
    model = getattr(client, f"{version.capitalize()}{kind}", None)
    if model is None or (group, version, kind) not in _BUILTIN:
        return None
    closed = _without_null(model.model_json_schema(mode="validation"))
    closed["properties"]["metadata"] = _METADATA
    closed["required"] = sorted({*closed.get("required", []), *_BUILTIN[group, version, kind]})
    return KindSchema(None, closed)


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_ABOUT = ("apiVersion", "kind", "metadata")
_BUILTIN: dict[tuple[str, str, str], tuple[str, ...]] = {
    ("", "v1", "Service"): (*_ABOUT, "spec"),
    ("", "v1", "ServiceAccount"): _ABOUT,
    ("apps", "v1", "StatefulSet"): (*_ABOUT, "spec"),
    ("policy", "v1", "PodDisruptionBudget"): (*_ABOUT, "spec"),
    ("networking.k8s.io", "v1", "NetworkPolicy"): (*_ABOUT, "spec"),
    ("networking.k8s.io", "v1", "Ingress"): (*_ABOUT, "spec"),
}


def _close(source: Schema) -> Schema:
    """Convert a structural schema to JSON Schema, with every object closed that the server would prune.

    Raises:
        ManifestError: The schema has an unknown keyword, which must not be ignored.
    """
    closed: Schema = {}
    for word, value in source.items():
        if word == "properties":
            closed[word] = {name: _close(child) for name, child in value.items()}
        elif word == "items" or (word == "additionalProperties" and isinstance(value, dict)):
            closed[word] = _close(value)
        elif word in ("allOf", "anyOf", "oneOf"):
            closed[word] = [_open(child) for child in value]
        elif word == "not":
            closed[word] = _open(value)
        elif word in _KEPT or word == "additionalProperties":
            closed[word] = value
        elif word not in _DROPPED and not word.startswith("x-kubernetes-"):
            raise ManifestError(f"the CRD's schema uses {word!r}, which this check does not support")
    if source.get("x-kubernetes-int-or-string"):
        closed.pop("type", None)
        closed["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if source.get("format") == "int32":
        closed["minimum"] = max(closed.get("minimum", _INT32[0]), _INT32[0])
        closed["maximum"] = min(closed.get("maximum", _INT32[1]), _INT32[1])
    if source.get("x-kubernetes-list-type") == "set":
        closed["uniqueItems"] = True
    if source.get("nullable") and isinstance(closed.get("type"), str):
        closed["type"] = [closed["type"], "null"]
    kept_open = source.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in closed
    if source.get("type") == "object" and not kept_open:
        closed.setdefault("properties", {})
        closed["additionalProperties"] = False
    return closed


def _open(source: Schema) -> Schema:
    """Convert a schema within anyOf or similar, which only checks values and does not close objects."""
    closed = _close(source)
    if "type" not in source:
        closed.pop("additionalProperties", None)
    return closed


def _count_rules(source: Any) -> int:
    """Return the number of CEL rules in a schema."""
    if isinstance(source, dict):
        own = len(source.get("x-kubernetes-validations", []))
        return own + sum(_count_rules(child) for child in source.values())
    return sum(_count_rules(child) for child in source) if isinstance(source, list) else 0


def _without_null(schema: Any) -> Any:
    """Return a model's schema without null as an alternative: nulls are removed before the validation."""
    if isinstance(schema, list):
        return [_without_null(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    cleaned = {word: _without_null(part) for word, part in schema.items() if word not in ("default", "title")}
    choices = cleaned.get("anyOf")
    if isinstance(choices, list) and {"type": "null"} in choices:
        left = [choice for choice in choices if choice != {"type": "null"}]
        if len(left) == 1:
            del cleaned["anyOf"]
            cleaned |= left[0]
        else:
            cleaned["anyOf"] = left
    return cleaned
