"""Thresholds of drift, read from one TOML file; train/drift.toml states how each one was calibrated."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from train.config import Count, Fraction, Frozen, read_bounds

DEFAULT = Path(__file__).parents[1] / "drift.toml"

Significance = Annotated[float, Field(gt=0, lt=0.5)]
Index = Annotated[float, Field(ge=0)]


class MinimumDataThresholds(Frozen):
    """Minimum amounts of data."""

    min_rows: Annotated[int, Field(ge=2)]
    min_texts: Annotated[int, Field(ge=2)]
    min_feedback: Annotated[int, Field(ge=1)]


class Covariate(Frozen):
    """Thresholds of covariate shift."""

    mmd: Fraction
    retrain_mmd: Fraction
    length_psi: Index
    unknown_rise: Fraction


class PredictionShiftThresholds(Frozen):
    """Thresholds of prediction shift."""

    label_share: Fraction
    score_psi: Index


class Segments(Frozen):
    """Thresholds of segments, each compared with its own history."""

    significance: Significance
    label_share: Fraction
    min_rows: Count
    past_periods: Annotated[int, Field(ge=3, le=1_000)]
    min_past_periods: Annotated[int, Field(ge=3)]


class Accuracy(Frozen):
    """Thresholds of the accuracy."""

    fall: Fraction
    estimated_fall: Fraction


class DriftThresholds(Frozen):
    """Contents of the entire file."""

    significance: Significance
    evidence: MinimumDataThresholds
    covariate: Covariate
    prediction: PredictionShiftThresholds
    segments: Segments
    accuracy: Accuracy


def read_thresholds(path: Path = DEFAULT) -> DriftThresholds:
    """Read a TOML file; every key is required, and no other is allowed.

    Raises:
        SettingsFileError: The file is missing or not TOML, a key is missing or unknown, or a value is out of
            range.
    """
    return read_bounds(DriftThresholds, path, DEFAULT)
