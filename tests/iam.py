"""Evaluation of a role's IAM policies, limited to the features that this project's policies use.

An explicit denial has precedence, and an action that no statement allows is denied. Only the condition
operators in use are implemented; any other operator raises an error. Source: "Policy evaluation logic" in
AWS's IAM guide.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

Context = Mapping[str, str | Sequence[str]]


def allowed(
    statements: Iterable[Mapping[str, Any]], action: str, resource: str, context: Context | None = None
) -> bool:
    """Return whether an action on a resource is allowed.

    Args:
        statements: statements of all policies of a role.
        action: name of the action, such as "s3:GetObject".
        resource: ARN of the resource; "*" for actions without a resource.
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
    if operator.endswith("IfExists") and not found:
        return True
    every = operator.startswith("ForAllValues:")
    match operator.removeprefix("ForAllValues:").removesuffix("IfExists"):
        case "StringEquals" | "Bool":
            fits = [value in wanted for value in found]
        case "StringLike" | "ArnLike" | "ArnEquals":
            fits = [any(fnmatchcase(value, pattern) for pattern in wanted) for value in found]
        case _:
            raise NotImplementedError(operator)
    return all(fits) if every else any(fits)


def listed(value: str | Sequence[str]) -> Sequence[str]:
    """Return the value as a sequence; a single string becomes a list of one."""
    return [value] if isinstance(value, str) else value
