"""Slices: the texts of one set that have the same value in a column, with small slices joined."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from train.datasets.examples import Example
from train.errors import DataError

OTHER = "(other)"
LEAST_TEXTS = 30
"""Minimum number of texts of a slice; smaller slices are joined, because their figures are too noisy."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Selected texts of a set."""

    set: str
    column: str
    value: str
    places: tuple[int, ...]
    """Indices of the texts in the set."""


def slices_of(
    sets: Mapping[str, Sequence[Example]], columns: Sequence[str], *, least_texts: int = LEAST_TEXTS
) -> list[Slice]:
    """Return the slices of every set by every column that it has, the largest first, `(other)` last.

    Raises:
        DataError: No set has one of the columns.
    """
    found = []
    for column in columns:
        having = {
            name: examples for name, examples in sets.items() if any(column in e.columns for e in examples)
        }
        if not having:
            raise DataError(f"no set has the column {column!r} for --slice; the sets are {sorted(sets)}")
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
