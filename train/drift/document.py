"""Document `drift.json`: a report for programs, with numbers of six digits and times in ISO 8601, UTC."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from train.drift.results import Report


def as_document(report: Report) -> dict[str, Any]:
    """Return the report as JSON values, `verdict` and `reasons` first."""
    fields = _plain(asdict(report))
    return {"format": 1, "verdict": fields.pop("verdict"), "reasons": list(report.reasons), **fields}


def to_json(report: Report) -> str:
    """Return the document as indented JSON."""
    return json.dumps(as_document(report), indent=2, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return value
