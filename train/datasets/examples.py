"""Labelled text, and a set split into two parts."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Example:
    """Text with the index of its label in the logits."""

    text: str
    label: int
    columns: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Values of the requested further columns, for slices; columns that the file lacks are omitted."""


@dataclass(frozen=True, slots=True)
class Split:
    """Set split into two parts; no text of one part is in the other."""

    train: tuple[Example, ...]
    held_out: tuple[Example, ...]
