"""Thresholds of the gate, read from one TOML file; train/gate.toml states the reason for each one."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from train.config import Count, Fraction, Frozen, read_bounds

DEFAULT = Path(__file__).parents[1] / "gate.toml"


class MinimumTextsBounds(Frozen):
    """Minimum numbers of texts."""

    min_texts: Count
    min_label_texts: Count


class Overall(Frozen):
    """Thresholds of the non-inferiority test of the mean of the sets."""

    margin: Annotated[float, Field(gt=0, le=1)]
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    power: Annotated[float, Field(gt=0.5, lt=1)]


class PartBounds(Frozen):
    """Thresholds of sets and slices, which are tested together."""

    min_texts: Count
    margin: Fraction


class CalibrationBounds(Frozen):
    """Thresholds of the expected calibration error."""

    max_error: Fraction
    max_rise: Fraction


class SpeedBounds(Frozen):
    """Thresholds of the speed, compared with the champion's."""

    min_ratio: Annotated[float, Field(ge=0)]


class BehaviourBounds(Frozen):
    """Thresholds of the behavioural tests, compared with the champion's."""

    max_rise: Fraction


class First(Frozen):
    """Thresholds for a first champion."""

    above_chance: Fraction
    max_minimum_failures: Fraction


class GateThresholds(Frozen):
    """Contents of the entire file."""

    significance: Annotated[float, Field(gt=0, lt=0.5)]
    evidence: MinimumTextsBounds
    overall: Overall
    parts: PartBounds
    calibration: CalibrationBounds
    speed: SpeedBounds
    behaviour: BehaviourBounds
    first: First


def read_thresholds(path: Path = DEFAULT) -> GateThresholds:
    """Read a TOML file; every key is required, and no other is allowed.

    Raises:
        SettingsFileError: The file is missing or not TOML, a key is missing or unknown, or a value is out of
            range.
    """
    return read_bounds(GateThresholds, path, DEFAULT)
