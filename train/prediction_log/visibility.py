"""Decision which files of a folder are read, so that each row is read once although several files contain it.

A compacted file claims the files whose rows it contains. If a run loses its lease while it writes, two runs
can leave compacted files whose claims overlap; then one of the two is void. The module has no side effects.
"""

from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Visibility:
    """Files that are not read.

    Attributes:
        replaced: names of files whose rows a compacted file contains, whether they still exist or not.
        void: names of compacted files whose rows are all in other files.
    """

    replaced: frozenset[str]
    void: frozenset[str]

    def __contains__(self, name: str) -> bool:
        """Return whether the file is read."""
        return name not in self.replaced and name not in self.void


def visibility(names: Collection[str], claims: Mapping[str, Set[str]]) -> Visibility:
    """Decide which files are read.

    A compacted file is void if it shares a claimed file with another one, and every other file that it claims
    still exists or is claimed by another one: no row is missing without it. If two files could be void, the
    one with the greater name is void. A void file stays void, because the shared files stay claimed.

    Args:
        names: names of the existing files.
        claims: names of the claimed files, by name of the compacted file; if it was made from compacted
            files, they include the files that those claimed.
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
    """Return the greatest name of a compacted file that can be void, or None."""
    for name in sorted(valid, reverse=True):
        claimed = valid[name]
        others = [of for other, of in valid.items() if other != name and other not in claimed]
        claimed_by_others = set[str]().union(*others)
        overlaps = not claimed.isdisjoint(claimed_by_others)
        if overlaps and name not in claimed_by_others and claimed <= claimed_by_others | existing:
            return name
    return None
