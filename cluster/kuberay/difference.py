"""What applying a document would change: a pure comparison with what the server would make of it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

_ABSENT = "(absent)"
_SERVERS_OWN = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid")
_VALUE_MAX = 120


def difference(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> list[str]:
    """One line for each changed value, `place: old -> new`; empty if nothing would change.

    Args:
        before: as the server has it; None if it does not.
        after: as the server would have it, from a dry run. Its status and bookkeeping do not count.
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
        yield f"{place}: {_shown(before)} -> {_shown(after)}"


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _VALUE_MAX else f"{text[: _VALUE_MAX - 1]}…"
