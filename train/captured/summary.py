"""What a log holds: rows, files and bytes of each day and version, and of each day's feedback."""

from collections.abc import Callable
from dataclasses import dataclass

from serve_app.capture.records import FEEDBACK, PREDICTIONS
from train.captured.reading import Log, Window


@dataclass(slots=True)
class Holding:
    """What lies in one folder of the log; `version` is None of feedback."""

    kind: str
    day: str
    version: str | None
    rows: int = 0
    files: int = 0
    size_bytes: int = 0


def summarise(log: Log, window: Window, tell: Callable[[int], None] = lambda _: None) -> list[Holding]:
    """The folders of a window's days, feedback after predictions; only the files' footers are read.

    Args:
        log: to look at.
        window: its days count, not its hours.
        tell: told how many files were looked at.

    Raises:
        LogInvalid: the log cannot be read.
    """
    found: dict[tuple[str, str, str | None], Holding] = {}
    looked_at = 0
    for kind in (PREDICTIONS, FEEDBACK):
        for file in log.files(kind, window):
            key = (kind, file.day.isoformat(), file.version)
            holding = found.setdefault(key, Holding(*key))
            holding.rows += log.count(file)
            holding.files += 1
            holding.size_bytes += file.size_bytes
            looked_at += 1
            tell(looked_at)
    return list(found.values())
