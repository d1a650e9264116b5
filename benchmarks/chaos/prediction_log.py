"""Detection of answers that are missing in the prediction log."""

from __future__ import annotations

import time
from collections.abc import Sequence

from benchmarks.chaos.traffic import OK, RecordedRequest
from serve_app.prediction_log.records import PREDICTIONS
from train.errors import LogError
from train.prediction_log.reader import Log

FLUSH_S = 2.0
"""SENTIMENT_LOG_FLUSH_S of the service under test: a killed replica may lose the rows of this time."""
_PATIENCE_S = 20.0
"""Seconds to wait for rows: flushes, and the writer's longest pause after a failure (5 s)."""


class PredictionLog:
    """Prediction log of the service; each file is read once."""

    def __init__(self, folder: str) -> None:
        self._log = Log(folder)
        self._read: set[str] = set()
        self._request_ids: set[str] = set()

    def lost(
        self, requests: Sequence[RecordedRequest], *, patience_s: float = _PATIENCE_S
    ) -> list[RecordedRequest]:
        """Wait until every answered request is in the log; return those that are missing at the timeout."""
        deadline = time.monotonic() + patience_s
        answered = [request for request in requests if request.outcome == OK]
        while True:
            self._read_new_files()
            missing = [request for request in answered if request.request_id not in self._request_ids]
            if not missing or time.monotonic() > deadline:
                return missing
            time.sleep(0.25)

    def _read_new_files(self) -> None:
        for file in self._log.every_file(PREDICTIONS):
            if file.path in self._read:
                continue
            try:
                for batch in self._log.rows(file, columns=("request_id",)):
                    self._request_ids.update(batch["request_id"].to_pylist())
            except LogError:
                continue  # the rows of a truncated file count as lost
            self._read.add(file.path)
