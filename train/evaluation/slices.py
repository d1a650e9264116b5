"""Slices: the texts of one set that share a column's value, the small ones joined."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from train.errors import DataInvalid
from train.texts.examples import Example

OTHER = "(other)"
LEAST_TEXTS = 30
"""A slice with fewer is joined with the other small ones: its figures would say nothing."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Some texts of a set."""

    set: str
    column: str
    value: str
    places: tuple[int, ...]
    """Which of the set's texts."""


def slices_of(
    sets: Mapping[str, Sequence[Example]], columns: Sequence[str], *, least_texts: int = LEAST_TEXTS
) -> list[Slice]:
    """The slices of every set by every column it has, the largest first, `(other)` last.

    Raises:
        DataInvalid: A column that no set has.
    """
    found = []
    for column in columns:
        having = {
            name: examples for name, examples in sets.items() if any(column in e.columns for e in examples)
        }
        if not having:
            raise DataInvalid(f"no set has a column {column!r} to slice by; the sets are {sorted(sets)}")
        for name, examples in having.items():
            found.extend(_of_set(name, examples, column, least_texts))
    return found


def _of_set(name: str, examples: Sequence[Example], column: str, least_texts: int) -> list[Slice]:
    places: dict[str, list[int]] = {}
    for place, example in enumerate(examples):
        places.setdefault(example.columns.get(column, ""), []).append(place)
    small = [value for value, members in places.items() if len(members) < least_texts]
    joined = sorted(place for value in small for place in places.pop(value))
    by_size = sorted(places.items(), key=lambda item: (-len(item[1]), item[0]))
    whole = [Slice(name, column, value, tuple(members)) for value, members in by_size]
    return [*whole, Slice(name, column, OTHER, tuple(joined))] if joined else whole
