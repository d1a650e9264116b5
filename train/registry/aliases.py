"""Aliases: the record of an alias holds its moves, which determine its version and the alias `previous`.

A record grows by one move at a time, and is written with compare-and-swap: of two writers that read the same
record, only one succeeds. The functions here are pure; `alias_store.py` reads and writes records.
"""

import re
from datetime import datetime
from enum import Enum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from train.errors import RegistryRequestError, RegistryUnavailableError

CHAMPION = "champion"
CANARY = "canary"
PREVIOUS = "previous"

_KEPT_MOVES = 200  # limits a record, which is always read entirely, to about 50 KB
_ALIAS = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_MLFLOW_KEEPS = re.compile(r"latest|v\d+")  # names that MLflow reserves


class Expect(Enum):
    """Expected state of an alias other than a version, for compare-and-swap."""

    ANYTHING = "anything"
    """Any state."""
    NOTHING = "nothing"
    """Not set."""


class Move(BaseModel):
    """Change of an alias."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sequence: Annotated[int, Field(ge=1, description="Number of the move, from 1, without gaps.")]
    version: Annotated[str | None, Field(description="New version; null if the alias is removed.")]
    digest: Annotated[str | None, Field(description="Digest of the new version.")]
    before: Annotated[str | None, Field(description="Version before the move.")]
    at: datetime
    write_id: Annotated[
        str,
        Field(
            description="Id of the write, by which a writer recognises its own move after a lost response."
        ),
    ]
    undoes: Annotated[bool, Field(description="Whether the move reverts the one before.")] = False


class AliasRecord(BaseModel):
    """Record of an alias: its moves, the oldest first; the last one determines the current version."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    alias: str
    moves: tuple[Move, ...] = ()

    @property
    def sequence(self) -> int:
        """Number of moves ever made."""
        return self.moves[-1].sequence if self.moves else 0

    @property
    def version(self) -> str | None:
        """Current version, or None."""
        return self.moves[-1].version if self.moves else None

    @property
    def previous(self) -> str | None:
        """Last version other than the current one, without reverted moves."""
        stand: list[Move] = []
        for move in self.moves:
            if move.undoes and stand:
                stand.pop()
            elif not move.undoes:
                stand.append(move)
        earlier = (move.before for move in reversed(stand))
        return next((version for version in earlier if version not in (None, self.version)), None)


def moved(
    record: AliasRecord,
    version: str | None,
    digest: str | None,
    *,
    at: datetime,
    write_id: str,
    undo: bool = False,
) -> AliasRecord:
    """Return the record with one more move; `undo` reverts the last move if that started at this version."""
    last = record.moves[-1] if record.moves else None
    move = Move(
        sequence=record.sequence + 1,
        version=version,
        digest=digest,
        before=record.version,
        at=at,
        write_id=write_id,
        undoes=undo and last is not None and last.before == version and not last.undoes,
    )
    return record.model_copy(update={"moves": (*record.moves, move)[-_KEPT_MOVES:]})


def as_bytes(record: AliasRecord) -> bytes:
    """Encode a record for storage."""
    return record.model_dump_json(indent=1, exclude_defaults=True).encode() + b"\n"


def parse_record(content: bytes, *, where: str) -> AliasRecord:
    """Decode a stored record.

    Raises:
        RegistryUnavailableError: The content is not a record.
    """
    try:
        return AliasRecord.model_validate_json(content)
    except ValidationError as error:
        raise RegistryUnavailableError(
            f"{where} is not the record of an alias ({error.error_count()} faults); restore it from the "
            "bucket's or the folder's backup, or remove it and set the alias again"
        ) from error


def check_alias(alias: str) -> None:
    """Raise `RegistryRequestError` unless an alias of this name can be moved."""
    if alias == PREVIOUS:
        raise RegistryRequestError(f"{PREVIOUS} follows {CHAMPION} by itself; move {CHAMPION}")
    if not _ALIAS.fullmatch(alias) or _MLFLOW_KEEPS.fullmatch(alias):
        raise RegistryRequestError(
            f"{alias!r} is not a valid name of an alias; expected lower-case letters, digits, _ and -, a "
            "letter first, and neither `latest` nor `v` with a number"
        )


def meets(record: AliasRecord, expect: str | Expect) -> bool:
    """Return whether the alias has the state that its writer expects."""
    match expect:
        case Expect.ANYTHING:
            return True
        case Expect.NOTHING:
            return record.version is None
        case _:
            return record.version == expect
