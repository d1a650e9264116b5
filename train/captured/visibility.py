"""Which files of a folder are read: every row once, although several files may hold it. Pure.

A compacted file claims the files whose rows it has. Two runs of which one lost its lease while it wrote can
leave compacted files whose claims overlap; then one of them is void.
"""

from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Visibility:
    """What is not read.

    Attributes:
        replaced: names whose rows a compacted file has, whether these files still exist or not.
        void: names of compacted files whose rows all are in other files.
    """

    replaced: frozenset[str]
    void: frozenset[str]

    def __contains__(self, name: str) -> bool:
        """Whether the file is read."""
        return name not in self.replaced and name not in self.void


def visibility(names: Collection[str], claims: Mapping[str, Set[str]]) -> Visibility:
    """Decide which files are read.

    A compacted file is void if it shares a claimed file with another one, and everything else that it claims
    still exists or is claimed by others: without it, no row is missing. Where two files could be void, the
    one with the greater name is. A void file stays void, because what it shares stays claimed.

    Args:
        names: of the existing files.
        claims: a compacted file's name -> names of the files whose rows it has, those that were compacted
            before together with what they claimed themselves.
    """
    valid = {name: set(claimed) for name, claimed in claims.items()}
    void: set[str] = set()
    existing = set(names)
    while (found := _redundant(valid, existing)) is not None:
        del valid[found]
        existing.discard(found)
        void.add(found)
    return Visibility(frozenset().union(*valid.values()), frozenset(void))


def _redundant(valid: Mapping[str, Set[str]], existing: Set[str]) -> str | None:
    """The greatest name of a compacted file that can be void; None if there is none."""
    for name in sorted(valid, reverse=True):
        claimed = valid[name]
        others = [of for other, of in valid.items() if other != name and other not in claimed]
        claimed_by_others = set[str]().union(*others)
        overlaps = not claimed.isdisjoint(claimed_by_others)
        if overlaps and name not in claimed_by_others and claimed <= claimed_by_others | existing:
            return name
    return None
