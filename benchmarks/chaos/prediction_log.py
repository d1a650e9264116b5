"""Which answers are missing in the prediction log."""

from __future__ import annotations

import time
from collections.abc import Sequence

from benchmarks.chaos.traffic import OK, RecordedRequest
from serve_app.capture.records import PREDICTIONS
from train.captured.reading import Log
from train.errors import LogInvalid

FLUSH_S = 2.0
"""SENTIMENT_LOG_FLUSH_S of the service under test: what a killed replica may lose."""
_PATIENCE_S = 20.0
"""Seconds for rows to arrive: flushes, and the writer's longest pause after a failure (5 s)."""


class PredictionLog:
    """The folder that the service logs to; each file is read once."""

    def __init__(self, folder: str) -> None:
        self._log = Log(folder)
        self._read: set[str] = set()
        self._request_ids: set[str] = set()

    def lost(
        self, requests: Sequence[RecordedRequest], *, patience_s: float = _PATIENCE_S
    ) -> list[RecordedRequest]:
        """Wait until every answered request is in the log, and return those that are not in the end."""
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
            except LogInvalid:
                continue  # a truncated file: its rows count as lost
            self._read.add(file.path)
