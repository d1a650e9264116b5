"""Progress of a retraining: a document in its folder, replaced after each stage."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from train.errors import RetrainingError
from train.prediction_log.reader import Window

_FILE = "retraining.json"

Status = Literal["under way", "too few labels", "refused", "registered"]


class Retraining(BaseModel):
    """Stored progress of one retraining."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    name: Annotated[str, Field(description="Name of the registered model.")]
    champion: Annotated[str, Field(description="Version whose training continues.")]
    version: Annotated[str, Field(description="New version.")]
    since: Annotated[datetime, Field(description="Start of the window of the champion's predictions.")]
    until: datetime
    log: Annotated[
        str | None, Field(description="Absolute URI of the log; null if written by an earlier release.")
    ] = None
    status: Status = "under way"
    reasons: Annotated[tuple[str, ...], Field(description="Reasons of the refusal.")] = ()
    by_label: Annotated[
        dict[str, int], Field(description="Number of texts with feedback by label; empty: not read yet.")
    ] = {}
    without_text: Annotated[
        int, Field(description="Number of predictions with feedback whose text is not in the log.")
    ] = 0
    audited: Annotated[int, Field(description="Number of labelled predictions of the audit sample.")] = 0
    complete: Annotated[bool, Field(description="Whether every text of the window has a label.")] = False
    fitted: bool = False
    passed: Annotated[
        bool | None, Field(description="Whether the gate passed the version; null: not evaluated yet.")
    ] = None
    uri: Annotated[str | None, Field(description="URI of the bundle in the registry.")] = None
    changed_at: datetime

    @property
    def window(self) -> Window:
        """Return its window of the log."""
        return Window(self.since, self.until, self.champion)

    @property
    def reference(self) -> str:
        """Return its reference, as for the other commands."""
        return f"registry:{self.name}/{self.version}"


def read_retraining(folder: Path) -> Retraining | None:
    """Return the document in a folder; None if there is none.

    Raises:
        RetrainingError: The document was not written by this module.
    """
    path = folder / _FILE
    try:
        return Retraining.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise RetrainingError(
            f"{path} is not the state of a retraining: {error.errors()[0]['msg']}; "
            f"remove {folder} to start again"
        ) from error


def write_retraining(folder: Path, retraining: Retraining) -> None:
    """Replace the document atomically."""
    draft = folder / f".{_FILE}"
    draft.write_text(retraining.model_dump_json(indent=2) + "\n", encoding="utf-8")
    draft.replace(folder / _FILE)


def retrainings(work: Path, name: str, champion: str, log: str) -> list[Retraining]:
    """Return the retrainings of a champion on a log (absolute URI), the earliest window first."""
    stored = (read_retraining(path.parent) for path in work.glob(f"*/{_FILE}"))
    of = (name, champion, log)
    own = [one for one in stored if one is not None and (one.name, one.champion, one.log) == of]
    return sorted(own, key=lambda one: one.until)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Acquire an exclusive lock on a folder. Raises RetrainingError if another process holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RetrainingError(
            f"another process runs the retraining in {folder}; wait until it ends"
        ) from error
    try:
        yield
    finally:
        lock.release()
