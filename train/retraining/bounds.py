"""When feedback is enough and how a retraining learns, read from one TOML file: train/retrain.toml."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field

from train.bounds import Count, Frozen, read_bounds

DEFAULT = Path(__file__).parents[1] / "retrain.toml"

Positive = Annotated[float, Field(gt=0)]


class WindowBounds(Frozen):
    """Which predictions."""

    hours: Positive


class LabelBounds(Frozen):
    """How many labels there must be, and may be."""

    min_texts: Count
    min_label_texts: Count
    max_texts: Annotated[int, Field(ge=1)]

    def lacking(self, by_label: Mapping[str, int], labels: Sequence[str]) -> tuple[str, ...]:
        """What is too few, in words; nothing if there is enough.

        Args:
            by_label: Texts with feedback by label.
            labels: All that the model has.
        """
        texts = sum(by_label.values())
        short = [f"{texts:,} texts have feedback, {self.min_texts:,} are needed"] * (texts < self.min_texts)
        return (
            *short,
            *(
                f"{by_label.get(label, 0):,} are {label}, {self.min_label_texts:,} are needed"
                for label in labels
                if by_label.get(label, 0) < self.min_label_texts
            ),
        )


class MixBounds(Frozen):
    """What is shown."""

    held_out: Annotated[float, Field(gt=0, lt=1)]
    passes: Positive
    replay: Annotated[float, Field(ge=0)]
    learning_rate: Positive
    full_learning_rate: Positive


class GateBounds(Frozen):
    """What must be shown besides the gate's own bounds."""

    gain: Annotated[float, Field(ge=0, lt=1)]
    max_set_texts: Annotated[int, Field(ge=1)]


class PaceBounds(Frozen):
    """How often the loop acts."""

    look_hours: Positive
    pause_hours: Positive

    @property
    def look(self) -> timedelta:
        """Between two looks for drift."""
        return timedelta(hours=self.look_hours)

    @property
    def pause(self) -> timedelta:
        """After a refusal."""
        return timedelta(hours=self.pause_hours)


class Bounds(Frozen):
    """The whole file."""

    window: WindowBounds
    labels: LabelBounds
    mix: MixBounds
    gate: GateBounds
    pace: PaceBounds


def read_retrain_bounds(path: Path = DEFAULT) -> Bounds:
    """Read a TOML file; every key must be there, and no other.

    Raises:
        SettingsInvalid: No such file, not TOML, a key missing or unknown, or a value out of range.
    """
    return read_bounds(Bounds, path, DEFAULT)
