"""Alias store of a registry: records that are moved by compare-and-swap, and mirrored in MLflow.

If a writer dies between the two steps, MLflow is outdated until the next read or write, which corrects it.
"""

import logging
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from train.errors import AliasConflictError, RegistryUnavailableError, UnknownVersionError
from train.registry import aliases
from train.registry.aliases import CHAMPION, PREVIOUS, AliasRecord, Expect, Move
from train.registry.mlflow_backend import Tracking
from train.registry.references import parse_reference
from train.storage.base import Place

_MIRROR_TRIES = 5

_log = logging.getLogger(__name__)


class AliasStore:
    """Aliases of one registry; `numbers` returns MLflow's number of each version of a model."""

    def __init__(
        self,
        tracking: Tracking,
        place: Place,
        *,
        now: Callable[[], datetime],
        numbers: Callable[[str], Mapping[str, int]],
    ) -> None:
        self._tracking, self._place, self._now, self._numbers = tracking, place, now, numbers

    def move(
        self,
        name: str,
        alias: str,
        version: str | None,
        digest: str | None,
        expect: str | Expect,
        *,
        undo: bool = False,
    ) -> Move:
        """Move an alias to a version, or remove it; arguments and errors as for `Registry.set_alias`."""
        record, tag = self._read(name, alias)
        label = f"{name}@{alias}"
        if not aliases.meets(record, expect):
            raise AliasConflictError(
                f"{label} points to {_or_nothing(record.version)}{_since(record)}, not to "
                f"{_or_nothing(expect)}; nothing was changed: check `list {name}`, then retry"
            )
        if record.version != version:
            write_id = uuid.uuid4().hex
            record = aliases.moved(record, version, digest, at=self._now(), write_id=write_id, undo=undo)
            if not self._place.swap(_alias_key(name, alias), aliases.as_bytes(record), tag=tag):
                now = self.record(name, alias)
                raise AliasConflictError(
                    f"another writer moved {label} first, to {_or_nothing(now.version)}{_since(now)}; "
                    f"nothing was changed: check `list {name}`, then retry"
                )
        elif not record.moves:
            raise UnknownVersionError(f"{label} points to no version; there is nothing to remove")
        self.mirror(name)
        return record.moves[-1]

    def record(self, name: str, alias: str) -> AliasRecord:
        """Return the record of an alias; it has no moves if the alias was never set."""
        return self._read(name, alias)[0]

    def pointed(self, name: str) -> dict[str, str | None]:
        """Return the version of every alias by its record, including removed aliases."""
        pointed = {}
        for key in self._place.keys(f"aliases/{name}"):
            alias = Path(key).stem
            record = self.record(name, alias)
            pointed[alias] = record.version
            if alias == CHAMPION:
                pointed[PREVIOUS] = record.previous
        return pointed

    def mirror(self, name: str) -> Mapping[str, str | None]:
        """Update the aliases in MLflow from the records, and return them.

        A writer that another one overtakes meanwhile detects this and repeats the update, so that the last
        writer leaves the state of the records. If a writer dies, the next read or write updates MLflow.
        """
        pointed = self.pointed(name)
        try:
            for _ in range(_MIRROR_TRIES):
                numbers = self._numbers(name)
                desired = {alias: numbers.get(version or "") for alias, version in pointed.items()}
                shown = self._tracking.aliases(name)
                outdated = {alias: number for alias, number in desired.items() if shown.get(alias) != number}
                if not outdated:
                    return pointed
                for alias, number in outdated.items():
                    self._tracking.point(name, alias, number)
                pointed = self.pointed(name)
        except RegistryUnavailableError as error:
            _log.warning("MLflow's aliases are outdated until the next read: %s", error)
        return pointed

    def _read(self, name: str, alias: str) -> tuple[AliasRecord, str | None]:
        """Return the record and its tag for compare-and-swap, which is None if there is no record."""
        key = _alias_key(name, alias)
        stored = self._place.read(key)
        if stored is None:
            return AliasRecord(name=name, alias=alias), None
        return aliases.parse_record(stored.content, where=self._place.uri(key)), stored.tag


def _alias_key(name: str, alias: str) -> str:
    reference = parse_reference(f"{name}@{alias}")  # rejects names that are paths
    return f"aliases/{reference.name}/{reference.alias}.json"


def _or_nothing(version: str | Expect | None) -> str:
    return version if isinstance(version, str) else "nothing"


def _since(record: AliasRecord) -> str:
    return f" since {record.moves[-1].at:%Y-%m-%d %H:%M:%S} UTC" if record.moves else ""
