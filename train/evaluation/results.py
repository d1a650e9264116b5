"""Schema of `evaluation.json`, the result of one evaluation: `evaluate` writes it, and the gate reads it.

Fractions are between 0 and 1; differences are candidate minus `against`, so a negative difference is worse.
Fields of `against` are null if the evaluation had only one model.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from train.evaluation.calibration import Calibration
from train.evaluation.compare import Interval
from train.evaluation.metrics import Figures

_DIGITS = 6


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelCard(_Frozen):
    """Description of an evaluated model."""

    address: str = Field(description="URI or reference as given by the user.")
    uri: str
    name: str
    version: str
    digest: str | None = Field(default=None, description="Digest of the bundle; null for a running service.")
    labels: tuple[str, ...] = Field(description="Labels in the order of the logits.")
    temperature: float | None = Field(
        default=None, description="Calibration temperature that is applied to all scores of this model."
    )
    max_length: int
    device: str
    dtype: str


class ModelOnSet(_Frozen):
    """Results of one model on one set."""

    figures: Figures
    calibration: Calibration
    accuracy: Interval | None = Field(
        default=None, description="Interval of `figures.accuracy`; null in older files."
    )
    balanced_accuracy: Interval | None = Field(
        default=None, description="Interval of `figures.balanced_accuracy`."
    )


class Difference(_Frozen):
    """Candidate minus `against` on the same texts."""

    accuracy: Interval
    balanced_accuracy: Interval
    mcnemar_p: float = Field(description="p-value of the exact two-sided McNemar test of equal accuracy.")
    paired: dict[str, tuple[int, int, int, int]] = Field(
        description="Number of texts by true class: both correct, only the candidate, only against, neither."
    )


Role = Literal["sample", "audit", "feedback"]
"""Origin of the texts of a set: a random sample of the requests; the audit sample of the traffic; or feedback
on that traffic, whose selection depends on the correctness of the predictions."""


class SetResult(_Frozen):
    """Results on one set."""

    name: str
    role: Role = "sample"
    texts: int
    candidate: ModelOnSet
    against: ModelOnSet | None
    difference: Difference | None


class Headline(_Frozen):
    """Main figures of a slice."""

    accuracy: float
    balanced_accuracy: float


class SliceResult(_Frozen):
    """Results on the texts of one set with the same value in a column; `(other)` joins the rare values."""

    set: str
    column: str
    value: str
    texts: int
    candidate: Headline
    against: Headline | None
    difference: Difference | None


class AverageFigures(_Frozen):
    """Means over the sets, with equal weight."""

    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    calibration_error: float
    negative_log_likelihood: float


class AverageDifference(_Frozen):
    """Difference of the means; the texts of each set are resampled separately."""

    accuracy: Interval
    balanced_accuracy: Interval


class Average(_Frozen):
    """Results for all sets together."""

    candidate: AverageFigures
    against: AverageFigures | None
    difference: AverageDifference | None


class Speed(_Frozen):
    """Speed of batched forward passes over all sets, in the order of the texts; for a service, requests."""

    batch_texts: int
    texts: int
    tokens: int
    forward_s: float
    texts_per_s: float
    tokens_per_s: float


class SpeedResult(_Frozen):
    """Speed of both models, which alternate batch by batch, so that other load affects both equally."""

    candidate: Speed
    against: Speed | None
    ratio: float | None = Field(
        description="Median over the batches of (time of against / time of candidate); above 1: faster."
    )


class Failures(_Frozen):
    """Failed cases of one model on one behavioural test."""

    failed: int
    rate: float
    examples: tuple[str, ...] = Field(description="First failing cases, with the predictions.")


class BehaviourTestResult(_Frozen):
    """Results of one behavioural test."""

    name: str
    kind: Literal["minimum", "negation", "invariance", "direction"]
    claim: str
    cases: int
    candidate: Failures
    against: Failures | None


class BehaviourResult(_Frozen):
    """Results of all behavioural tests, or the reason why they were skipped."""

    skipped: str | None
    tests: tuple[BehaviourTestResult, ...]


class Evaluation(_Frozen):
    """Contents of the entire file."""

    format: Literal[1, 2] = 2
    """Format 2 adds the intervals of each model's accuracies."""
    created_at: str = Field(description="Time of the evaluation: UTC, ISO 8601.")
    candidate: ModelCard
    against: ModelCard | None
    labels: tuple[str, ...]
    seed: int
    resamples: int
    confidence: Annotated[float, Field(gt=0, lt=1, description="Confidence level of every interval.")]
    average: Average
    sets: tuple[SetResult, ...] = Field(min_length=1)
    slices: tuple[SliceResult, ...]
    behaviour: BehaviourResult
    speed: SpeedResult


def to_json(evaluation: Evaluation) -> str:
    """Return the file's text, with numbers to six digits, which is finer than 1 / texts of any set."""
    return json.dumps(_rounded(evaluation.model_dump(mode="json")), indent=2, ensure_ascii=False) + "\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value
