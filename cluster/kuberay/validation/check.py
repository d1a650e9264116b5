"""Strict validation: what the API server, the operator or Ray would reject or silently drop."""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError
from pydantic import BaseModel
from pydantic import ValidationError as ModelError

from cluster.errors import ManifestError
from cluster.kuberay.manifests import karpenter, pod_monitor
from cluster.kuberay.validation.crd_schemas import Key, KindSchema, Schema, builtin_schema
from cluster.kuberay.validation.operator_rules import operator_problems
from cluster.kuberay.validation.serve_schema import nearest, serve_config_problems

Place = tuple[str | int, ...]
Document = dict[str, Any]
_MODELS: Mapping[Key, type[BaseModel]] = {
    **karpenter.MODELS,
    (pod_monitor.API_VERSION, "PodMonitor"): pod_monitor.PodMonitor,
}
"""Models of kinds whose CRDs are not installed everywhere, by apiVersion and kind."""


@dataclass(frozen=True)
class Fault:
    """Fault in a manifest: object, location, and message."""

    about: str
    place: Place
    message: str

    def __str__(self) -> str:
        return f"{self.about}: {dotted(self.place) or 'the document'}: {self.message}"


@dataclass
class Checker:
    """Validates documents with schemas.

    Args:
        schemas: Schemas of CRDs, by apiVersion and kind.
    """

    schemas: Mapping[Key, KindSchema]
    _validators: dict[Key, Draft202012Validator] = field(default_factory=dict)

    def check(self, documents: Iterable[Any]) -> list[Fault]:
        """Return the faults of all documents, in order."""
        faults: list[Fault] = []
        seen: set[tuple[str, str]] = set()
        for number, document in enumerate(documents):
            found = self._check(document, number)
            about = name_of(document, number)
            namespace = _mapping(_mapping(document).get("metadata")).get("namespace", "")
            if (about, str(namespace)) in seen:
                found.append(Fault(about, (), "is defined twice"))
            seen.add((about, str(namespace)))
            faults += found
        return faults

    def _check(self, document: Any, number: int) -> list[Fault]:
        about = name_of(document, number)
        if not isinstance(document, dict):
            return [Fault(about, (), f"expected a mapping, got {type(document).__name__}")]
        key = (str(document.get("apiVersion")), str(document.get("kind")))
        known = self.schemas.get(key)
        if known is None and key in _MODELS:
            return [Fault(about, place, message) for place, message in _by_model(document, key)]
        known = known or builtin_schema(*key)
        if known is None:
            hint = nearest(key[1], [kind for _, kind in self.schemas])
            return [
                Fault(
                    about,
                    ("kind",),
                    f"no schema of {key[1]} in {key[0]}{hint}; set --crds to a folder of CRDs",
                )
            ]
        complete = _as_stored(document, known.source)
        faults = [
            Fault(about, (*error.absolute_path,), message)
            for error in self._validator(key, known).iter_errors(complete)
            for message in _messages(error)
        ]
        faults += [Fault(about, place, message) for place, message in _twice(known.source, complete, ())]
        if faults:
            return faults  # the checks below assume a valid document
        faults = [Fault(about, place, message) for place, message in operator_problems(complete)]
        if key[1] == "RayService":
            text = complete["spec"].get("serveConfigV2", "")
            faults += [
                Fault(about, ("spec", "serveConfigV2", *place), message)
                for place, message in serve_config_problems(text)
            ]
        return faults

    def _validator(self, key: Key, known: KindSchema) -> Draft202012Validator:
        if key not in self._validators:
            self._validators[key] = Draft202012Validator(known.closed, format_checker=FormatChecker())
        return self._validators[key]


def read_documents(text: str, where: str) -> list[Document]:
    """Parse the documents of a YAML text, without empty ones.

    Raises:
        ManifestError: The text is not YAML, or a mapping has the same key twice.
    """
    try:
        return [document for document in yaml.load_all(text, _StrictLoader) if document is not None]
    except yaml.YAMLError as error:
        raise ManifestError(f"{where}: {error}") from error


def name_of(document: Any, number: int) -> str:
    """Return `Kind/name`, or the number of a document without a name."""
    document = _mapping(document)
    name = _mapping(document.get("metadata")).get("name")
    return f"{document.get('kind')}/{name}" if name else f"document {number + 1}"


def dotted(place: Place) -> str:
    """Return a location as text, such as `spec.workerGroupSpecs[0].template`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".")


def _as_stored(document: Document, source: Schema | None) -> Document:
    """Return the document as the API server validates it: without nulls, with defaults."""
    complete: Document = _without_nulls(document)
    if source is not None:
        _fill(source, complete)
    return complete


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(child) for key, child in value.items() if child is not None}
    return [_without_nulls(child) for child in value] if isinstance(value, list) else value


def _fill(source: Schema, value: Any) -> None:
    """Add the schema's defaults to a value, in place."""
    if isinstance(value, dict):
        known = source.get("properties", {})
        for name, child in known.items():
            if name not in value and "default" in child:
                value[name] = copy.deepcopy(child["default"])
            if name in value:
                _fill(child, value[name])
        others = source.get("additionalProperties")
        if isinstance(others, dict):
            for name in value.keys() - known.keys():
                _fill(others, value[name])
    elif isinstance(value, list) and isinstance(source.get("items"), dict):
        for item in value:
            _fill(source["items"], item)


def _messages(error: ValidationError) -> list[str]:
    """Return short messages of a schema error, with the nearest known key."""
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        return [
            f"unknown key {key!r}, which the API server would drop{nearest(str(key), known)}"
            for key in error.instance
            if key not in known
        ]
    if error.validator == "required":
        return [error.message]
    shown = repr(error.instance)
    return [error.message.replace(shown, shown if len(shown) < 80 else shown[:77] + "…")]


def _twice(source: Schema | None, value: Any, place: Place) -> Iterable[tuple[Place, str]]:
    """Yield duplicate items of lists that are maps by key, such as containers by name."""
    if source is None:
        return
    if isinstance(value, dict):
        others = source.get("additionalProperties")
        for name, child in value.items():
            schema = source.get("properties", {}).get(name, others)
            if isinstance(schema, dict):
                yield from _twice(schema, child, (*place, name))
    elif isinstance(value, list) and isinstance(source.get("items"), dict):
        keys = source.get("x-kubernetes-list-map-keys")
        seen: list[list[Any]] = []
        for number, item in enumerate(value):
            if keys and isinstance(item, dict):
                mine = [item.get(key) for key in keys]
                if mine in seen:
                    yield (*place, number), f"{', '.join(map(str, mine))} is defined twice"
                seen.append(mine)
            yield from _twice(source["items"], item, (*place, number))


def _by_model(document: Document, key: Key) -> list[tuple[Place, str]]:
    try:
        _MODELS[key].model_validate(_without_nulls(document))
    except ModelError as error:
        return [(fault["loc"], fault["msg"]) for fault in error.errors()]
    return []


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML loader that rejects duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is defined twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)
