"""Difference between the current object and the result of a dry run."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

_ABSENT = "(absent)"
_SERVERS_OWN = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid")
_VALUE_MAX = 120
_BEFORE_MAX = 30
"""Number of common characters shown before the first difference of two long values."""


def difference(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> list[str]:
    """Return one line per changed value, `location: old -> new`; empty without changes.

    Args:
        before: Current object; None if it does not exist.
        after: Result of a dry run. Status and server-managed metadata are ignored.
    """
    return list(_compare(_own(before or {}), _own(after), ""))


def _own(document: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in document.get("metadata", {}).items() if key not in _SERVERS_OWN}
    rest = {key: value for key, value in document.items() if key not in ("status", "metadata")}
    return {**rest, "metadata": metadata}


def _compare(before: Any, after: Any, place: str) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            way = f"{place}.{key}" if place else str(key)
            yield from _compare(before.get(key, _ABSENT), after.get(key, _ABSENT), way)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _compare(old, new, f"{place}[{number}]")
    elif isinstance(before, str) and isinstance(after, str) and "\n" in before + after and before != after:
        yield f"{place}:"
        old, new = before.splitlines(), after.splitlines()
        yield from (f"  - {line}" for line in old if line not in new)
        yield from (f"  + {line}" for line in new if line not in old)
    elif before != after:
        old, new = (value if isinstance(value, str) else json.dumps(value) for value in (before, after))
        first = 0
        if max(len(old), len(new)) > _VALUE_MAX:
            pairs = enumerate(zip(old, new, strict=False))
            differs = next((index for index, (a, b) in pairs if a != b), min(len(old), len(new)))
            first = max(0, differs - _BEFORE_MAX)
        yield f"{place}: {_excerpt(old, first)} -> {_excerpt(new, first)}"


def _excerpt(text: str, first: int) -> str:
    shown = f"…{text[first:]}" if first else text
    return shown if len(shown) <= _VALUE_MAX else f"{shown[: _VALUE_MAX - 1]}…"
