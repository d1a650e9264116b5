"""Clients of the demonstration: they send texts and feedback, and record which requests were answered."""

from __future__ import annotations

import csv
import itertools
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx

from examples.canary_rollout.periodic import repeating
from examples.closed_loop.texts import LABELS, Row
from train.prediction_log.audit_sample import COLUMNS, export_sample
from train.prediction_log.importer import import_feedback
from train.prediction_log.reader import Log, Window

_BATCH_TEXTS, _CLIENTS = 4, 4
_PAUSE_S = 0.1
_TIMEOUT_S = 60.0
_PATIENCE_S = 120.0

Say = Callable[[Row], str]
"""Function that returns the feedback label of a row."""


def truth(row: Row) -> str:
    """Return the correct label."""
    return LABELS[row[1]]


@dataclass
class Clients:
    """Clients that send texts to the service.

    Attributes:
        url: address of the service.
        answered: ids of the answered requests.
        failed: faults of the failed requests, including those with feedback.
        said: number of labels sent as feedback.
        asked: sent texts by request id and index.
    """

    url: str
    answered: set[str] = field(default_factory=set)
    failed: list[str] = field(default_factory=list)
    said: int = 0
    asked: dict[tuple[str, int], Row] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._client = httpx.Client(timeout=_TIMEOUT_S)

    def send(self, rows: Sequence[Row], say: Say | None = None) -> None:
        """Send every row, a few per request, and send feedback for each answer if `say` is given."""
        parts = [rows[begin : begin + _BATCH_TEXTS] for begin in range(0, len(rows), _BATCH_TEXTS)]
        with ThreadPoolExecutor(_CLIENTS) as pool:
            list(pool.map(lambda part: self._ask(part, say), parts))

    @contextmanager
    def steadily(self, rows: Sequence[Row], say: Say | None = None) -> Iterator[None]:
        """Send the rows repeatedly while the block runs."""
        endless = itertools.cycle(rows)

        def ask() -> None:
            with self._lock:
                part = list(itertools.islice(endless, _BATCH_TEXTS))
            self._ask(part, say)

        with ExitStack() as stack:
            for _ in range(_CLIENTS):
                stack.enter_context(repeating(ask, _PAUSE_S))
            yield

    def audit(self, log: Log, folder: Path, say: Say) -> int:
        """Label the audit sample, as a person does with its file.

        Returns:
            Number of labelled texts.
        """
        sample, labelled = folder / "audit-sample.csv", folder / "audit-labelled.csv"
        export_sample(log, Window(), sample)
        with sample.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        with labelled.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            for row in rows:
                # The sample may contain the request with which the launcher checks the service.
                if asked := self.asked.get((row["request_id"], int(row["index"]))):
                    writer.writerow({**row, "label": say(asked)})
        return import_feedback(str(labelled), log.uri, LABELS, now=datetime.now(UTC), audit=True).rows

    def lost(self, log: Log) -> set[str]:
        """Return the answered requests that the log lacks, after waiting for them up to the timeout."""
        deadline = time.monotonic() + _PATIENCE_S
        while (missing := self.answered - _kept(log)) and time.monotonic() < deadline:
            time.sleep(0.5)
        return missing

    def _ask(self, rows: Sequence[Row], say: Say | None) -> None:
        request_id = uuid.uuid4().hex
        asked = self._post(
            "/v1/classify", {"inputs": [text for text, _ in rows]}, {"X-Request-ID": request_id}
        )
        if not asked:
            return
        with self._lock:
            self.answered.add(request_id)
            self.asked |= {(request_id, index): row for index, row in enumerate(rows)}
        if say is not None:
            given = [
                {"request_id": request_id, "index": index, "label": say(row)}
                for index, row in enumerate(rows)
            ]
            if self._post("/v1/feedback", given, {}):
                with self._lock:
                    self.said += len(given)

    def _post(self, path: str, body: object, headers: dict[str, str]) -> bool:
        try:
            answer = self._client.post(f"{self.url}{path}", json=body, headers=headers)
            fault = None if answer.is_success else f"{path}: {answer.status_code} {answer.text[:200]}"
        except httpx.HTTPError as error:
            fault = f"{path}: {error!r}"
        if fault:
            with self._lock:
                self.failed.append(fault)
        return fault is None


def _kept(log: Log) -> set[str]:
    return {
        one for batch in log.predictions(columns=("request_id",)) for one in batch["request_id"].to_pylist()
    }
