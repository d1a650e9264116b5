"""`drift.json`: a report for programs. Numbers are rounded to six digits, times are ISO 8601 in UTC."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from train.drift.findings import Report


def as_document(report: Report) -> dict[str, Any]:
    """The report as JSON has it, `verdict` and `reasons` first."""
    fields = _plain(asdict(report))
    return {"format": 1, "verdict": fields.pop("verdict"), "reasons": list(report.reasons), **fields}


def to_json(report: Report) -> str:
    """The document, indented."""
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
