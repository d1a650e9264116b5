"""What a role's policies allow: the evaluation of IAM, as far as this project's policies use it.

An explicit refusal goes before everything, and what nothing allows is refused. Conditions are read for the
operators in use; another one is an error, not a pass. Source: "Policy evaluation logic" in AWS's IAM guide.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

Context = Mapping[str, str | Sequence[str]]


def allowed(
    statements: Iterable[Mapping[str, Any]], action: str, resource: str, context: Context | None = None
) -> bool:
    """Whether an action on a resource is allowed.

    Args:
        statements: of all policies of a role.
        action: such as "s3:GetObject".
        resource: its ARN; "*" for actions that know none.
        context: condition keys of the request, with their values.
    """
    effects = {
        one["Effect"]
        for one in statements
        if any(fnmatchcase(action.lower(), pattern.lower()) for pattern in listed(one["Action"]))
        and any(fnmatchcase(resource, pattern) for pattern in listed(one["Resource"]))
        and _holds(one.get("Condition", {}), context or {})
    }
    return effects == {"Allow"}


def _holds(conditions: Mapping[str, Mapping[str, Any]], context: Context) -> bool:
    return all(
        _matches(operator, listed(context.get(key, ())), listed(wanted))
        for operator, keys in conditions.items()
        for key, wanted in keys.items()
    )


def _matches(operator: str, found: Sequence[str], wanted: Sequence[str]) -> bool:
    every = operator.startswith("ForAllValues:")
    match operator.removeprefix("ForAllValues:"):
        case "StringEquals" | "Bool":
            fits = [value in wanted for value in found]
        case "StringLike" | "ArnLike" | "ArnEquals":
            fits = [any(fnmatchcase(value, pattern) for pattern in wanted) for value in found]
        case _:
            raise NotImplementedError(operator)
    return all(fits) if every else any(fits)


def listed(value: str | Sequence[str]) -> Sequence[str]:
    """One or several, as several."""
    return [value] if isinstance(value, str) else value
