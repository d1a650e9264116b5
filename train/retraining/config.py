"""Limits of a retraining, read from one TOML file: train/retrain.toml."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field

from train.config import Count, Frozen, read_bounds

DEFAULT = Path(__file__).parents[1] / "retrain.toml"

Positive = Annotated[float, Field(gt=0)]


class WindowBounds(Frozen):
    """Selection of the predictions."""

    hours: Positive


class LabelBounds(Frozen):
    """Minimum and maximum numbers of labels."""

    min_texts: Count
    min_label_texts: Count
    max_texts: Annotated[int, Field(ge=1)]

    def lacking(self, by_label: Mapping[str, int], labels: Sequence[str]) -> tuple[str, ...]:
        """Return descriptions of the labels with too few texts; empty if there are enough.

        Args:
            by_label: Texts with feedback by label.
            labels: All labels of the model.
        """
        texts = sum(by_label.values())
        short = [f"{texts:,} texts have feedback; expected {self.min_texts:,} or more"] * (
            texts < self.min_texts
        )
        return (
            *short,
            *(
                f"{by_label.get(label, 0):,} are {label}; expected {self.min_label_texts:,} or more"
                for label in labels
                if by_label.get(label, 0) < self.min_label_texts
            ),
        )


class MixBounds(Frozen):
    """Training data mix."""

    held_out: Annotated[float, Field(gt=0, lt=1)]
    passes: Positive
    replay: Annotated[float, Field(ge=0)]
    learning_rate: Positive
    full_learning_rate: Positive


class GateBounds(Frozen):
    """Requirements in addition to the gate's thresholds."""

    gain: Annotated[float, Field(ge=0, lt=1)]
    gain_confidence: Annotated[float, Field(gt=0.5, lt=1)]
    max_set_texts: Annotated[int, Field(ge=1)]


class PaceBounds(Frozen):
    """Intervals of the continuous training loop."""

    look_hours: Positive
    pause_hours: Positive

    @property
    def look(self) -> timedelta:
        """Return the interval between two drift checks."""
        return timedelta(hours=self.look_hours)

    @property
    def pause(self) -> timedelta:
        """Return the pause after a refusal."""
        return timedelta(hours=self.pause_hours)


class Bounds(Frozen):
    """Contents of the entire file."""

    window: WindowBounds
    labels: LabelBounds
    mix: MixBounds
    gate: GateBounds
    pace: PaceBounds


def read_retrain_bounds(path: Path = DEFAULT) -> Bounds:
    """Read a TOML file; every key is required, and no other is allowed.

    Raises:
        SettingsFileError: The file is missing or not TOML, a key is missing or unknown, or a value is out of
            range.
    """
    return read_bounds(Bounds, path, DEFAULT)
