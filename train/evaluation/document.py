"""`evaluation.json`: what one evaluation found; `evaluate` writes it, the gate judges it.

Fractions are between 0 and 1; differences are candidate minus `against`, so below zero is worse. Whatever
belongs to `against` is null where there was none.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from train.evaluation.compare import Interval
from train.evaluation.figures import Figures
from train.evaluation.reliability import Calibration

_DIGITS = 6


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelCard(_Frozen):
    """Which model was measured."""

    address: str = Field(description="As the user named it.")
    uri: str
    name: str
    version: str
    digest: str | None = Field(default=None, description="The bundle's identity; a service does not say.")
    labels: tuple[str, ...] = Field(description="In the model's own order.")
    temperature: float | None = Field(default=None, description="Applied to every score here.")
    max_length: int
    device: str
    dtype: str


class ModelOnSet(_Frozen):
    """One model on one set."""

    figures: Figures
    calibration: Calibration
    accuracy: Interval | None = Field(default=None, description="Of `figures.accuracy`; none in older files.")
    balanced_accuracy: Interval | None = Field(default=None, description="Of `figures.balanced_accuracy`.")


class Difference(_Frozen):
    """Candidate minus `against` on the same texts."""

    accuracy: Interval
    balanced_accuracy: Interval
    mcnemar_p: float = Field(description="Exact, two-sided: are both right equally often?")
    paired: dict[str, tuple[int, int, int, int]] = Field(
        description="By true class, texts that both answer right, only the candidate, only against, neither."
    )


Role = Literal["sample", "audit", "feedback"]
"""What the texts of a set are: a random sample of what is asked; the audit sample of the traffic; or feedback
on that traffic, which comes in because an answer was right or wrong."""


class SetResult(_Frozen):
    """One set."""

    name: str
    role: Role = "sample"
    texts: int
    candidate: ModelOnSet
    against: ModelOnSet | None
    difference: Difference | None


class Headline(_Frozen):
    """The main figures of a slice."""

    accuracy: float
    balanced_accuracy: float


class SliceResult(_Frozen):
    """The texts of one set that have one value in a column; `(other)` joins the rare values."""

    set: str
    column: str
    value: str
    texts: int
    candidate: Headline
    against: Headline | None
    difference: Difference | None


class AverageFigures(_Frozen):
    """Means over the sets, every set counting alike."""

    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    calibration_error: float
    negative_log_likelihood: float


class AverageDifference(_Frozen):
    """Difference of the means; every set's texts are resampled by themselves."""

    accuracy: Interval
    balanced_accuracy: Interval


class Average(_Frozen):
    """All sets together."""

    candidate: AverageFigures
    against: AverageFigures | None
    difference: AverageDifference | None


class Speed(_Frozen):
    """Of the forwards over all sets, in batches, in the order of the texts; whole requests for a service."""

    batch_texts: int
    texts: int
    tokens: int
    forward_s: float
    texts_per_s: float
    tokens_per_s: float


class SpeedResult(_Frozen):
    """Both models took turns batch by batch, so what else the machine did met both alike."""

    candidate: Speed
    against: Speed | None
    ratio: float | None = Field(
        description="Median over the batches of time of against / time of candidate: above 1 is faster."
    )


class Failures(_Frozen):
    """One model on one behavioural test."""

    failed: int
    rate: float
    examples: tuple[str, ...] = Field(description="The first failing cases, with what was answered.")


class BehaviourTestResult(_Frozen):
    """One behavioural test."""

    name: str
    kind: Literal["minimum", "negation", "invariance", "direction"]
    claim: str
    cases: int
    candidate: Failures
    against: Failures | None


class BehaviourResult(_Frozen):
    """All behavioural tests, or why there are none."""

    skipped: str | None
    tests: tuple[BehaviourTestResult, ...]


class Evaluation(_Frozen):
    """The whole file."""

    format: Literal[1, 2] = 2
    """2: with the intervals of each model's accuracies."""
    created_at: str = Field(description="UTC, ISO 8601.")
    candidate: ModelCard
    against: ModelCard | None
    labels: tuple[str, ...]
    seed: int
    resamples: int
    confidence: Annotated[float, Field(gt=0, lt=1, description="Of every interval.")]
    average: Average
    sets: tuple[SetResult, ...] = Field(min_length=1)
    slices: tuple[SliceResult, ...]
    behaviour: BehaviourResult
    speed: SpeedResult


def to_json(evaluation: Evaluation) -> str:
    """The file's text; numbers to six digits, which is finer than any set is large."""
    return json.dumps(_rounded(evaluation.model_dump(mode="json")), indent=2, ensure_ascii=False) + "\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value
