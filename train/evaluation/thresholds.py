"""The gate's thresholds, read from one TOML file; train/gate.toml says what each was chosen for."""

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from train.errors import SettingsInvalid

DEFAULT = Path(__file__).parents[1] / "gate.toml"

Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Evidence(_Frozen):
    """How many texts there must be at all."""

    min_texts: Count
    min_label_texts: Count


class Overall(_Frozen):
    """The mean of the sets."""

    margin: Fraction
    tolerance: Fraction


class Parts(_Frozen):
    """Every set and slice, tested together."""

    min_texts: Count
    margin: Fraction


class Sets(_Frozen):
    """Every set by itself, whatever is significant."""

    tolerance: Fraction
    min_label_texts: Count


class CalibrationBounds(_Frozen):
    """Expected calibration error."""

    max_error: Fraction
    max_rise: Fraction


class SpeedBounds(_Frozen):
    """Against the champion's."""

    min_ratio: Annotated[float, Field(ge=0)]


class BehaviourBounds(_Frozen):
    """Against the champion's."""

    max_rise: Fraction


class First(_Frozen):
    """Where there is no champion yet."""

    above_chance: Fraction
    max_minimum_failures: Fraction


class Thresholds(_Frozen):
    """The whole file."""

    significance: Annotated[float, Field(gt=0, lt=0.5)]
    evidence: Evidence
    overall: Overall
    parts: Parts
    sets: Sets
    calibration: CalibrationBounds
    speed: SpeedBounds
    behaviour: BehaviourBounds
    first: First


def read_thresholds(path: Path = DEFAULT) -> Thresholds:
    """Read a TOML file; every key must be there, and no other.

    Raises:
        SettingsInvalid: No such file, not TOML, a key missing or unknown, or a value out of range.
    """
    try:
        return Thresholds.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SettingsInvalid(
            f"{path} cannot be read: {error.strerror}; start from {DEFAULT.name}"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsInvalid(f"{path} is not TOML: {error}") from error
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'the file'}: {fault['msg']}" for fault in error.errors()
        )
        raise SettingsInvalid(f"{path}: {faults}; train/gate.toml has every key") from error
