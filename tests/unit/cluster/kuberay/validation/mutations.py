"""Random mutations that break a manifest, derived from its schema and independent of the check."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

import yaml

Document = dict[str, Any]
Way = tuple[str | int, ...]
SERVE_CONFIG: Way = ("spec", "serveConfigV2")
_WRONG = {
    "string": [1],
    "integer": "many",
    "number": "many",
    "boolean": "perhaps",
    "array": "one",
    "object": "none",
}


def mutate(document: Document, schema: dict[str, Any], chance: random.Random) -> tuple[Document, str]:
    """Return a copy with one fault, and the description of the fault."""
    broken = copy.deepcopy(document)
    choices = list(_choices(schema, document, ()))
    if "serveConfigV2" in document["spec"]:
        config = yaml.safe_load(document["spec"]["serveConfigV2"])
        # Mutate the Serve configuration as often as the rest, although it is much smaller.
        if chance.random() < 0.5:
            kind, way = chance.choice(list(_serve_choices(config)))
            _break(config, kind, way, _serve_type(config, way), chance)
            broken["spec"]["serveConfigV2"] = yaml.safe_dump(config)
            return broken, f"{kind} at {(*SERVE_CONFIG, *way)}"
    kind = chance.choice(["unknown key", "wrong type", "missing field"])
    kind, way, declared = chance.choice([choice for choice in choices if choice[0] == kind])
    _break(broken, kind, way, declared, chance)
    return broken, f"{kind} at {way}"


def _choices(schema: dict[str, Any], value: Any, way: Way) -> Iterator[tuple[str, Way, str]]:
    """Yield every mutation that violates the schema, at every location of the document."""
    declared = (
        "string or integer" if schema.get("x-kubernetes-int-or-string") else schema.get("type", "object")
    )
    if way and way[0] != "metadata":
        yield "wrong type", way, declared
    if isinstance(value, dict):
        known = schema.get("properties", {})
        if "properties" in schema and way[:1] != ("metadata",):
            yield "unknown key", way, declared
        for name in schema.get("required", []):
            if name in value and "default" not in known.get(name, {}):
                yield "missing field", (*way, name), ""
        if not way:
            yield from (("missing field", (name,), "") for name in ("apiVersion", "kind", "metadata"))
            yield "missing field", ("metadata", "name"), ""
        for name, child in value.items():
            inner = known.get(name, schema.get("additionalProperties"))
            if isinstance(inner, dict) and (way or name not in ("apiVersion", "kind", "metadata")):
                yield from _choices(inner, child, (*way, name))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _choices(schema["items"], item, (*way, number))


def _serve_choices(config: Document) -> Iterator[tuple[str, Way]]:
    application: Way = ("applications", 0)
    deployment: Way = (*application, "deployments", 0)
    closed: list[Way] = [
        (), ("http_options",), ("logging_config",), application, (*application, "args"), deployment,
        (*deployment, "user_config"), (*deployment, "user_config", "champion"),
        (*deployment, "autoscaling_config"), (*deployment, "autoscaling_config", "policy"),
        (*deployment, "autoscaling_config", "policy", "policy_kwargs"),
    ]  # fmt: skip
    yield from (("unknown key", way) for way in closed)
    yield from (
        ("missing field", way)
        for way in (("applications",), (*application, "import_path"), (*deployment, "name"))
    )
    yield "missing field", (*deployment, "user_config", "champion")
    yield "missing field", (*deployment, "user_config", "champion", "model")
    yield from (("wrong type", way) for way in _leaves(config, ()))


def _leaves(value: Any, way: Way) -> Iterator[Way]:
    if isinstance(value, dict):
        for name, child in value.items():
            yield from _leaves(child, (*way, name))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _leaves(item, (*way, number))
    else:
        yield way


def _serve_type(config: Document, way: Way) -> str:
    value: Any = config
    for part in way:
        value = value[part]
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names[type(value)]


def _break(document: Document, kind: str, way: Way, declared: str, chance: random.Random) -> None:
    place: Any = document
    if kind == "unknown key":
        for part in way:
            place = place[part]
        known = list(place) or ["option"]
        place[f"{chance.choice(known)}z"] = chance.choice(["x", 1, True, {"a": "b"}, ["c"]])
        return
    *above, last = way
    for part in above:
        place = place[part]
    if kind == "missing field":
        del place[last]
    else:
        place[last] = ["neither"] if declared == "string or integer" else _WRONG[declared]
