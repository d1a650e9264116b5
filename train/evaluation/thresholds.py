"""The gate's thresholds, read from one TOML file; train/gate.toml says what each was chosen for."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from train.bounds import Count, Fraction, Frozen, read_bounds

DEFAULT = Path(__file__).parents[1] / "gate.toml"


class Evidence(Frozen):
    """How many texts there must be at all."""

    min_texts: Count
    min_label_texts: Count


class Overall(Frozen):
    """The mean of the sets: a test of non-inferiority."""

    margin: Annotated[float, Field(gt=0, le=1)]
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    power: Annotated[float, Field(gt=0.5, lt=1)]


class Parts(Frozen):
    """Every set and slice, tested together."""

    min_texts: Count
    margin: Fraction


class CalibrationBounds(Frozen):
    """Expected calibration error."""

    max_error: Fraction
    max_rise: Fraction


class SpeedBounds(Frozen):
    """Against the champion's."""

    min_ratio: Annotated[float, Field(ge=0)]


class BehaviourBounds(Frozen):
    """Against the champion's."""

    max_rise: Fraction


class First(Frozen):
    """Where there is no champion yet."""

    above_chance: Fraction
    max_minimum_failures: Fraction


class Thresholds(Frozen):
    """The whole file."""

    significance: Annotated[float, Field(gt=0, lt=0.5)]
    evidence: Evidence
    overall: Overall
    parts: Parts
    calibration: CalibrationBounds
    speed: SpeedBounds
    behaviour: BehaviourBounds
    first: First


def read_thresholds(path: Path = DEFAULT) -> Thresholds:
    """Read a TOML file; every key must be there, and no other.

    Raises:
        SettingsInvalid: No such file, not TOML, a key missing or unknown, or a value out of range.
    """
    return read_bounds(Thresholds, path, DEFAULT)
