"""Helpers that write prediction logs with the same code as replicas."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from serve_app.interface import Prediction, PredictionBatch, Timing
from serve_app.prediction_log.parquet import feedback_files, prediction_files
from serve_app.prediction_log.records import FeedbackRecord, PredictionRecord
from serve_app.prediction_log.stores import FolderStore, Store
from serve_app.settings import LogPrivacy
from tests.contract.fake_replica import LIVE

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
SECOND_US = 1_000_000


def at(seconds: float) -> int:
    """Return a time in microseconds since the epoch, from seconds after noon."""
    return int(NOON.timestamp() * 1e6 + seconds * 1e6)


def answered(request_id: str, *texts: str, seconds: float = 0, version: str = "7") -> PredictionRecord:
    """Return the record of a request at `seconds` after noon; every text is POSITIVE."""
    model = replace(LIVE, version=version, digest=version)
    scored = [Prediction([0.1, 0.2, 0.7], tokens=len(text), truncated=False) for text in texts]
    answer = PredictionBatch(model, scored, Timing(0.001, 0.002, 0.003))
    return PredictionRecord(request_id, at(seconds), texts, None, answer, 6.0, "champion")


def truth(request_id: str, label: str, *, index: int = 0, seconds: float = 60) -> FeedbackRecord:
    """Return feedback at `seconds` after noon."""
    return FeedbackRecord(request_id, index, label, at(seconds), "api")


def write(
    root: Path, records: Sequence[PredictionRecord] = (), truths: Sequence[FeedbackRecord] = ()
) -> None:
    """Add files to a log in a folder: one for each version and date."""
    put(FolderStore(root), records, truths)


def write_unsure(
    store: Store,
    texts: Sequence[str],
    truths: Sequence[str],
    *,
    model: tuple[str, str],
    labels: Sequence[str],
    until: datetime,
) -> None:
    """Write answers with scores of 0.5, an hour before `until`, and feedback on the first of them."""
    time_us = round((until - timedelta(hours=1)).timestamp() * 1e6)
    live = replace(LIVE, name=model[0], version=model[1], labels=tuple(labels))
    answer = PredictionBatch(live, [Prediction([0.5, 0.5], 9, False)], Timing(0.0, 0.0, 0.0))
    put(
        store,
        [
            PredictionRecord(f"r{i}", time_us, [text], None, answer, 5.0, "champion")
            for i, text in enumerate(texts)
        ],
        [FeedbackRecord(f"r{i}", 0, label, time_us + 1, "api") for i, label in enumerate(truths)],
    )


def put(
    store: Store,
    records: Sequence[PredictionRecord],
    truths: Sequence[FeedbackRecord],
    privacy: LogPrivacy = "full",
) -> None:
    """Add files to the log in a store."""
    for file in [*prediction_files(records, privacy), *feedback_files(truths)]:
        store.put(file.key, file.content)
