"""Contents of a log: rows, files and bytes by day and version, and of the feedback by day."""

from collections.abc import Callable
from dataclasses import dataclass

from serve_app.prediction_log.records import FEEDBACK, PREDICTIONS
from train.prediction_log.reader import Log, Window


@dataclass(slots=True)
class Holding:
    """Contents of one folder of the log; `version` is None for feedback."""

    kind: str
    day: str
    version: str | None
    rows: int = 0
    files: int = 0
    size_bytes: int = 0


def summarise(log: Log, window: Window, on_progress: Callable[[int], None] = lambda _: None) -> list[Holding]:
    """Return the contents of the folders of a window's days, predictions first; read only the files' footers.

    Args:
        log: log to summarise.
        window: window, of which only the days are used, not the hours.
        on_progress: callback that receives the number of files read so far.

    Raises:
        LogError: the log cannot be read.
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
            on_progress(looked_at)
    return list(found.values())
