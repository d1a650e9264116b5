"""What counts as drift, read from one TOML file; train/drift.toml says what each bound was calibrated on."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from train.bounds import Count, Fraction, Frozen, read_bounds

DEFAULT = Path(__file__).parents[1] / "drift.toml"

Significance = Annotated[float, Field(gt=0, lt=0.5)]
Index = Annotated[float, Field(ge=0)]


class Evidence(Frozen):
    """How much there must be at all."""

    min_rows: Annotated[int, Field(ge=2)]
    min_texts: Annotated[int, Field(ge=2)]
    min_feedback: Annotated[int, Field(ge=1)]


class Covariate(Frozen):
    """What the texts are like."""

    mmd: Fraction
    retrain_mmd: Fraction
    length_psi: Index
    unknown_rise: Fraction


class Prediction(Frozen):
    """What the model says."""

    label_share: Fraction
    score_psi: Index


class Segments(Frozen):
    """Every segment, compared with its own past."""

    significance: Significance
    label_share: Fraction
    min_rows: Count
    past_periods: Annotated[int, Field(ge=3, le=1_000)]
    min_past_periods: Annotated[int, Field(ge=3)]


class Accuracy(Frozen):
    """How often it is right."""

    fall: Fraction
    estimated_fall: Fraction


class Thresholds(Frozen):
    """The whole file."""

    significance: Significance
    evidence: Evidence
    covariate: Covariate
    prediction: Prediction
    segments: Segments
    accuracy: Accuracy


def read_thresholds(path: Path = DEFAULT) -> Thresholds:
    """Read a TOML file; every key must be there, and no other.

    Raises:
        SettingsInvalid: No such file, not TOML, a key missing or unknown, or a value out of range.
    """
    return read_bounds(Thresholds, path, DEFAULT)
