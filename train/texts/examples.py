"""One labelled text, and one set in two parts."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Example:
    """One text and the index of its label in the logits."""

    text: str
    label: int
    columns: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Values of further columns, by which figures may be sliced; those that were asked for and are there."""


@dataclass(frozen=True, slots=True)
class Split:
    """One set in two parts; no text of one part is in the other."""

    train: tuple[Example, ...]
    held_out: tuple[Example, ...]
