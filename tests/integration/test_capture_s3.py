"""Tests of the log in S3: no loss during an S3 outage, no failed request with a denied bucket, and reading.

S3 is moto's, over HTTP; the middleware in front of it answers for S3 when a status is set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import date, timedelta
from threading import Condition
from typing import Any

import boto3
import pytest

from serve_app.metrics import Metrics
from serve_app.prediction_log.logger import PredictionLogger, open_logger
from serve_app.settings import Settings
from tests.integration.aws import PATIENCE_S, listening, moto, point_at
from tests.unit.train.prediction_log.logs import answered, truth
from train.prediction_log.compaction import compact
from train.prediction_log.join import Join, JoinCounts
from train.prediction_log.reader import Log, Window

BUCKET = "captured"
URI = f"s3://{BUCKET}/senti/log"


class Wire:
    """WSGI middleware in front of moto: answers a PUT with `status` if it is set, and counts the answers."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._refused = Condition()
        self.status: str | None = None
        self.refusals = 0

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "PUT" or self.status is None:
            return list(self._app(environ, start_response))
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response(self.status, [("Content-Type", "application/xml")])
        with self._refused:
            self.refusals += 1
            self._refused.notify_all()
        return [b"<Error><Code>Refused</Code><Message>no</Message></Error>"]

    def wait_for_refusals(self, count: int) -> None:
        with self._refused:
            assert self._refused.wait_for(lambda: self.refusals >= count, PATIENCE_S)


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """Yield an S3 with an empty bucket at a free port; boto3 and pyarrow find it by the environment."""
    wire = Wire(moto())
    with listening(wire) as endpoint:
        point_at(endpoint, monkeypatch)
        boto3.session.Session().client("s3").create_bucket(Bucket=BUCKET)
        yield wire


def capturing(**settings: Any) -> PredictionLogger:
    capture = open_logger(Settings(log_uri=URI, log_privacy="full", **settings), Metrics())
    assert capture is not None
    return capture


def close(capture: PredictionLogger, *, patience_s: float = PATIENCE_S) -> None:
    capture.predictions.close(patience_s=patience_s)
    capture.feedback.close(patience_s=patience_s)


def texts() -> list[str]:
    return sorted(text for batch in Log(URI).predictions() for text in batch["text"].to_pylist())


def test_nothing_is_lost_while_s3_is_away(wire: Wire) -> None:
    wire.status = "503 Slow Down"
    capture = capturing(log_flush_s=0.05)
    for number in range(500):
        capture.record_prediction(answered(f"{number}", f"text {number}"))
    wire.wait_for_refusals(3)
    assert capture.predictions.held_bytes > 0

    wire.status = None
    close(capture)

    assert texts() == sorted(f"text {number}" for number in range(500))


def test_a_denied_bucket_fails_no_request_and_memory_is_bounded(wire: Wire) -> None:
    wire.status = "403 Forbidden"
    capture = capturing(log_flush_s=0.05, log_buffer_bytes=100_000)
    for number in range(1000):
        capture.record_prediction(answered(f"{number}", "text " * 20))
        assert capture.predictions.held_bytes <= 100_000
    wire.wait_for_refusals(2)
    close(capture, patience_s=0)
    assert texts() == []


def test_captured_joined_and_compacted_in_s3(wire: Wire) -> None:
    for number in range(3):
        capture = capturing()
        capture.record_prediction(answered(f"{number}", "good", "bad"))
        capture.record_feedback([truth(f"{number}", "NEGATIVE", index=1)])
        close(capture)
    log = Log(URI)

    for grace in (timedelta(hours=1), timedelta(0)):
        compact(log, before=date(2026, 11, 27), grace=grace)
        join = Join(log, Window(version="7"), ("text", "label"))
        rows = [(row["text"], row["truth"]) for batch in join for row in batch.to_pylist()]
        assert rows == [("bad", "NEGATIVE")] * 3
        assert join.counts == JoinCounts(feedback=3, joined=3)
    listed = boto3.session.Session().client("s3").list_objects_v2(Bucket=BUCKET, Prefix="senti/log/")
    assert len([item for item in listed["Contents"] if item["Key"].endswith(".parquet")]) == 2
