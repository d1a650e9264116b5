"""What a check finds, and what becomes of it: a finding with its level, and all of them as a report."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Kind = Literal["covariate", "prediction", "segment", "accuracy"]
Level = Literal["ok", "drift", "retrain"]
LEVELS: tuple[Level, ...] = ("ok", "drift", "retrain")
"""In rising order."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One thing that was measured, before it is known how many others were."""

    check: str
    kind: Kind
    effect: float
    """How much; what it is a measure of is the check's affair."""
    bound: float
    """An effect from here on counts."""
    p: float
    """p-value of no change."""
    claim: str
    """What has changed, if the effect counts."""
    measured: str
    """What was measured: true whether the effect counts or not."""
    retrain_bound: float | None = None
    """An effect from here on asks for retraining; None: none does."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A measure and its level."""

    check: str
    kind: Kind
    level: Level
    effect: float
    bound: float
    p: float
    """After the correction for all that was asked in one go."""
    reason: str
    """What was measured, after what has changed unless the level is `ok`."""


@dataclass(frozen=True, slots=True)
class Unmeasured:
    """What could not be checked, and why."""

    check: str
    why: str


@dataclass(frozen=True, slots=True)
class AccuracyFigures:
    """How often the answers are right, as fractions; None where it is not known."""

    reference: float | None
    """On what was held out of training."""
    measured: float | None
    """By the audit sample."""
    low: float | None
    """Wilson's 95 % interval of `measured`."""
    high: float | None
    audited: int
    """Texts of the audit sample that have a label."""
    judged: int
    """Texts with a label, whoever gave it."""
    feedback_low: float | None
    """Bounds from those labels alone: all other answers are wrong, or all are right."""
    feedback_high: float | None
    by_mean_score: float | None
    """Estimated without feedback: see `train.drift.estimates`."""
    by_threshold: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that is said of a window."""

    name: str
    version: str
    begin: datetime | None
    end: datetime | None
    rows: int
    """Distinct texts."""
    repeated: int
    """Further answers to the same texts, which are not judged."""
    verdict: Level
    findings: tuple[Finding, ...]
    """Of the whole window: every check that was made."""
    segments: tuple[Finding, ...]
    """Those that drifted, the greatest effect first."""
    segments_judged: int
    segments_not_yet: int
    """Those whose own past is too short to judge them."""
    unmeasured: tuple[Unmeasured, ...]
    accuracy: AccuracyFigures

    @property
    def reasons(self) -> tuple[str, ...]:
        """Descriptions of the changes, the most severe first; none if the verdict is `ok`."""
        found = [finding for finding in (*self.findings, *self.segments) if finding.level != "ok"]
        found.sort(key=lambda finding: -LEVELS.index(finding.level))
        return tuple(finding.reason for finding in found)
