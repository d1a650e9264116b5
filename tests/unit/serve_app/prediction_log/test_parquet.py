"""Tests of log rows: request and answer, and only as much of the text as the privacy setting allows."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace

import pytest
from pyarrow import parquet

from serve_app.prediction_log.parquet import feedback_files, prediction_files
from serve_app.prediction_log.redaction import redacted
from serve_app.settings import LogPrivacy
from tests.unit.train.prediction_log.logs import answered, at, truth

DAY_S = 86_400
PERSONAL = "Mail jo.doe+x@mail.example.org or @jo_doe, call +1 (555) 010-9999, see https://a.example/b?c=1!"


def test_a_request_is_a_row_for_each_text() -> None:
    record = replace(answered("a", "good", "bad"), segment="cream")
    record.answer.results[1] = replace(record.answer.results[1], scores=[0.5, 0.3, 0.2], unknown_tokens=2)

    [file] = prediction_files([record], "full")

    assert file.key.startswith("predictions/date=2026-11-26/version=7/20261126T120000-") and file.rows == 2
    table = parquet.read_table(io.BytesIO(file.content))
    assert table.schema.metadata[b"schema_version"] == b"1"
    assert table.schema.metadata[b"labels"] == b"NEGATIVE\nNEUTRAL\nPOSITIVE"
    row = table.to_pylist()[1]
    assert row.pop("time").timestamp() * 1e6 == at(0)
    assert row.pop("score") == pytest.approx(0.5) and row.pop("scores") == pytest.approx([0.5, 0.3, 0.2])
    assert row == {
        "request_id": "a",
        "index": 1,
        "text": "bad",
        "text_sha256": hashlib.sha256(b"bad").hexdigest(),
        "segment": "cream",
        "label": "NEGATIVE",
        "tokens": 3,
        "unknown_tokens": 2,
        "truncated": False,
        "latency_ms": 6.0,
        "model": "fake",
        "version": "7",
        "role": "champion",
        "audit_fraction": None,
    }


def test_days_and_versions_have_files_of_their_own() -> None:
    records = [answered(f"{n}", "x", seconds=n % 2 * DAY_S, version=f"v/{n % 3}") for n in range(12)]
    files = prediction_files(records, "full")
    folders = {file.key.rpartition("/")[0]: file.rows for file in files}
    assert folders == {
        f"predictions/date=2026-11-{26 + day}/version=v%2F{version}": 2
        for day in range(2)
        for version in range(3)
    }
    truths = [truth("a", "NEGATIVE"), truth("a", "NEGATIVE", seconds=DAY_S)]
    assert [file.rows for file in feedback_files(truths)] == [1, 1]


@pytest.mark.parametrize(
    ("privacy", "kept"),
    [
        ("full", PERSONAL),
        ("redacted", "Mail <mail> or <name>, call +<number> (<number>) <number>, see <url>"),
    ],
)
def test_privacy(privacy: LogPrivacy, kept: str | None) -> None:
    [file] = prediction_files([answered("a", PERSONAL)], privacy)
    [row] = parquet.read_table(io.BytesIO(file.content)).to_pylist()
    assert row["text"] == kept and row["text_sha256"] == hashlib.sha256(PERSONAL.encode()).hexdigest()


def test_hash_keeps_no_text_anywhere_in_the_file() -> None:
    [file] = prediction_files([answered("a", PERSONAL)], "hash")
    [row] = parquet.read_table(io.BytesIO(file.content)).to_pylist()
    assert row["text"] is None and b"jo.doe" not in file.content


def test_redaction_leaves_words_alone() -> None:
    text = "It's 50/50: I love it, my 2 sisters don't. Great value @ this price!"
    assert redacted(text) == "It's <number>: I love it, my <number> sisters don't. Great value @ this price!"
