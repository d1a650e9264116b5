"""Results of the checks: findings with their levels, the report of all, and its document `drift.json`."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

Kind = Literal["covariate", "prediction", "segment", "accuracy"]
Level = Literal["ok", "drift", "retrain"]
LEVELS: tuple[Level, ...] = ("ok", "drift", "retrain")
"""Levels in rising order."""


@dataclass(frozen=True, slots=True)
class Measure:
    """Result of one check, before the correction for the number of checks."""

    check: str
    kind: Kind
    effect: float
    """Effect size; its unit depends on the check."""
    bound: float
    """Minimum effect size that counts."""
    p: float
    """p-value of the hypothesis of no change."""
    claim: str
    """Description of the change, if the effect counts."""
    measured: str
    """Description of the measured values, whether the effect counts or not."""
    retrain_bound: float | None = None
    """Minimum effect size that requires retraining; None if no effect does."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Result of a check with its level."""

    check: str
    kind: Kind
    level: Level
    effect: float
    bound: float
    p: float
    """p-value, corrected for the number of simultaneous checks."""
    reason: str
    """Description of the change, unless the level is `ok`, and of the measured values."""


@dataclass(frozen=True, slots=True)
class Unmeasured:
    """Check that could not be made, and the reason."""

    check: str
    why: str


@dataclass(frozen=True, slots=True)
class AccuracyFigures:
    """Accuracy figures as fractions; None if unknown."""

    reference: float | None
    """Accuracy on the texts held out of training."""
    measured: float | None
    """Accuracy by the audit sample."""
    low: float | None
    """Wilson's 95 % interval of `measured`."""
    high: float | None
    audited: int
    """Number of texts of the audit sample that have a label."""
    judged: int
    """Number of texts with a label, from any source."""
    feedback_low: float | None
    """Bounds from those labels alone: all other predictions are wrong, or all are correct."""
    feedback_high: float | None
    by_mean_score: float | None
    """Estimate without feedback: see `train.drift.statistics`."""
    by_threshold: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """Result of a drift check of a window."""

    name: str
    version: str
    begin: datetime | None
    end: datetime | None
    rows: int
    """Number of distinct texts."""
    repeated: int
    """Number of further predictions of the same texts, which are not evaluated."""
    verdict: Level
    findings: tuple[CheckResult, ...]
    """Findings of all checks of the entire window."""
    segments: tuple[CheckResult, ...]
    """Findings of the segments that drifted, the greatest effect first."""
    segments_judged: int
    segments_not_yet: int
    """Number of segments whose history is too short."""
    unmeasured: tuple[Unmeasured, ...]
    accuracy: AccuracyFigures

    @property
    def reasons(self) -> tuple[str, ...]:
        """Descriptions of the changes, the most severe first; none if the verdict is `ok`."""
        found = [finding for finding in (*self.findings, *self.segments) if finding.level != "ok"]
        found.sort(key=lambda finding: -LEVELS.index(finding.level))
        return tuple(finding.reason for finding in found)


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
