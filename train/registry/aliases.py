"""An alias: its record of every move, from which follow what it is, what it was, and what `previous` is.

A record only ever grows by one move, and is written with a compare-and-swap: of two writers who saw the same
record, one writes the next. The functions here are pure; `pointers.py` reads and writes.
"""

import re
from datetime import datetime
from enum import Enum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from train.errors import RegistryRefused, RegistryUnavailable

CHAMPION = "champion"
CANARY = "canary"
PREVIOUS = "previous"

_KEPT_MOVES = 200  # a record stays some 50 KB, read whole each time
_ALIAS = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_MLFLOW_KEEPS = re.compile(r"latest|v\d+")  # names that MLflow gives a meaning of its own


class Expect(Enum):
    """What a writer may take an alias for, besides a version."""

    ANYTHING = "anything"
    """Whatever it is when the writer looks."""
    NOTHING = "nothing"
    """Not set."""


class Move(BaseModel):
    """One change of an alias."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sequence: Annotated[int, Field(ge=1, description="1 for the first; no number is left out.")]
    version: Annotated[str | None, Field(description="What it points to from here on; null: to nothing.")]
    digest: Annotated[str | None, Field(description="That version's.")]
    before: Annotated[str | None, Field(description="What it pointed to up to here.")]
    at: datetime
    write_id: Annotated[str, Field(description="Tells a writer whose answer was lost that it had won.")]
    undoes: Annotated[bool, Field(description="Whether it takes the move before it back.")] = False


class AliasRecord(BaseModel):
    """Every move of one alias, the oldest first; the last one says what it is."""

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
        """What the alias points to."""
        return self.moves[-1].version if self.moves else None

    @property
    def previous(self) -> str | None:
        """The last version it pointed to that is not the present one, but for moves that were taken back."""
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
    """The record with one more move; `undo` takes the last one back, if that came from this version."""
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
    """The record as it is stored."""
    return record.model_dump_json(indent=1, exclude_defaults=True).encode() + b"\n"


def parse_record(content: bytes, *, where: str) -> AliasRecord:
    """Read a stored record.

    Raises:
        RegistryUnavailable: It is not one.
    """
    try:
        return AliasRecord.model_validate_json(content)
    except ValidationError as error:
        raise RegistryUnavailable(
            f"{where} is not the record of an alias ({error.error_count()} faults); restore it from the "
            "bucket's or the folder's backup, or remove it and set the alias again"
        ) from error


def check_alias(alias: str) -> None:
    """Raise `RegistryRefused` unless an alias of this name can be moved."""
    if alias == PREVIOUS:
        raise RegistryRefused(f"{PREVIOUS} follows {CHAMPION} by itself; move {CHAMPION}")
    if not _ALIAS.fullmatch(alias) or _MLFLOW_KEEPS.fullmatch(alias):
        raise RegistryRefused(
            f"{alias!r} is no name for an alias; write small letters, digits, _ and -, a letter first, "
            "and neither `latest` nor `v` with a number"
        )


def meets(record: AliasRecord, expect: str | Expect) -> bool:
    """Whether the alias is what its writer takes it for."""
    match expect:
        case Expect.ANYTHING:
            return True
        case Expect.NOTHING:
            return record.version is None
        case _:
            return record.version == expect
