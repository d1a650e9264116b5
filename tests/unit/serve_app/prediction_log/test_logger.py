"""Tests of the prediction logger: records reach the log, and feedback without room is refused, not lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from serve_app.errors import QueueFullError
from serve_app.metrics import Metrics
from serve_app.prediction_log.logger import PredictionLogger, open_logger
from serve_app.settings import Settings
from tests.unit.train.prediction_log.logs import answered, truth
from train.prediction_log.reader import Log


def capturing(uri: object) -> PredictionLogger:
    capture = open_logger(Settings(log_uri=str(uri), log_flush_s=3600, log_privacy="full"), Metrics())
    assert capture is not None
    return capture


async def test_the_end_of_the_application_writes_what_waits(tmp_path: Path) -> None:
    capture = capturing(tmp_path)
    async with capture.running():
        capture.record_prediction(answered("a", "one"))
        assert capture.record_feedback(
            [truth("a", "POSITIVE"), truth("a", "NEGATIVE"), truth("b", "NEGATIVE")]
        ) == {
            "right": 1,
            "wrong": 1,
            "unknown": 1,
        }
        assert list(Log(str(tmp_path)).predictions()) == []
    assert [batch["text"].to_pylist() for batch in Log(str(tmp_path)).predictions()] == [["one"]]
    assert sum(batch.num_rows for batch in Log(str(tmp_path)).feedback()) == 3


def test_a_disk_that_takes_nothing_fails_no_answer_and_refuses_feedback_in_the_end(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("where the folder should be")
    capture = capturing(tmp_path / "file")
    capture.record_prediction(answered("a", "one"))
    with pytest.raises(QueueFullError, match="buffer of feedback is full"):
        for _ in range(100):
            capture.record_feedback([truth("a", "POSITIVE")] * 1000)
    capture.record_prediction(answered("b", "two"))
    capture.predictions.close(patience_s=0)
    capture.feedback.close(patience_s=0)


def test_no_address_keeps_nothing() -> None:
    assert open_logger(Settings(), Metrics()) is None


@pytest.mark.parametrize("uri", ["s3://", "https://bucket/log", "file://", ""])
def test_an_address_that_names_no_place_is_refused(uri: str) -> None:
    with pytest.raises(ValidationError, match="s3://bucket/prefix"):
        Settings(log_uri=uri)


def test_the_audit_sample_is_random_kept_in_any_case_and_the_same_on_every_replica(tmp_path: Path) -> None:
    def audited(uri: Path) -> set[str]:
        settings = Settings(log_uri=str(uri), log_flush_s=3600, log_fraction=0.1, audit_fraction=0.25)
        capture = open_logger(settings, Metrics())
        assert capture is not None
        for number in range(2_000):
            capture.record_prediction(answered(f"request-{number}", "one", "two"))
        capture.close()
        rows = [row for batch in Log(str(uri)).predictions() for row in batch.to_pylist()]
        assert {row["audit_fraction"] for row in rows} == {None, 0.25}
        assert 2 * 550 < len(rows) < 2 * 750, "0.25 + 0.75 x 0.1 of 2,000 requests"
        return {row["request_id"] for row in rows if row["audit_fraction"]}

    first = audited(tmp_path / "first")
    assert 400 < len(first) < 600
    assert audited(tmp_path / "second") == first


def test_nothing_is_marked_without_an_audit_fraction(tmp_path: Path) -> None:
    capture = capturing(tmp_path)
    capture.record_prediction(answered("a", "one"))
    capture.close()
    assert [
        row["audit_fraction"] for batch in Log(str(tmp_path)).predictions() for row in batch.to_pylist()
    ] == [None]
