"""Tests of the log reader: it reads exactly the window, and only complete files."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from serve_app.prediction_log.records import PREDICTIONS
from tests.contract.fake_replica import LIVE
from tests.unit.train.prediction_log.logs import NOON, answered, truth, write
from train.errors import LogError
from train.prediction_log.reader import Log, Window
from train.prediction_log.summary import Holding, summarise
from train.registry import Version
from train.retraining.run_spec import version_name

DAY_S = 86_400
OFFSETS = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@pytest.fixture
def log(tmp_path: Path) -> Log:
    """Write one request per hour for two days, the second day by another version."""
    for hour in range(48):
        version = "7" if hour < 24 else "8+rc/1"
        write(tmp_path, [answered(f"{hour}", "one", "two", seconds=3600 * hour, version=version)])
    write(tmp_path, truths=[truth("0", "NEGATIVE"), truth("0", "NEGATIVE", seconds=DAY_S)])
    return Log(str(tmp_path))


def ids(log: Log, window: Window) -> list[int]:
    return sorted({int(row) for batch in log.predictions(window) for row in batch["request_id"].to_pylist()})


def test_a_window_begins_with_since_and_ends_before_until(log: Log) -> None:
    assert ids(log, Window()) == list(range(48))
    assert ids(log, Window(NOON + timedelta(hours=5), NOON + timedelta(hours=30))) == list(range(5, 30))
    assert ids(log, Window(version="8+rc/1")) == list(range(24, 48))
    assert ids(log, Window(since=NOON + timedelta(days=3))) == []


def test_only_days_of_the_window_are_opened(log: Log) -> None:
    opened = log.files(PREDICTIONS, Window(until=NOON))
    assert {file.day.isoformat() for file in opened} == {"2026-11-26"}


def test_columns_come_as_asked(log: Log) -> None:
    batch = next(iter(log.predictions(columns=("label", "request_id"))))
    assert batch.schema.names == ["label", "request_id"]
    with pytest.raises(LogError, match="no column 'colour'"):
        list(log.predictions(columns=("colour",)))


def test_half_files_and_notes_are_passed_over(log: Log, tmp_path: Path) -> None:
    folder = tmp_path / "predictions/date=2026-11-26/version=7"
    (folder / ".half.parquet.part").write_bytes(b"PAR1")
    (folder / "_SUCCESS").write_bytes(b"")
    assert ids(log, Window()) == list(range(48))


def test_a_damaged_file_is_named(log: Log, tmp_path: Path) -> None:
    (tmp_path / "predictions/date=2026-11-26/version=7/damaged.parquet").write_bytes(b"no parquet")
    with pytest.raises(LogError, match=r"damaged\.parquet"):
        list(log.predictions())


def test_another_schema_is_told(log: Log, tmp_path: Path) -> None:
    [path] = (tmp_path / "feedback/date=2026-11-26").glob("*.parquet")
    table = parquet.read_table(path, partitioning=None)
    parquet.write_table(table.replace_schema_metadata({"schema_version": "2"}), path)
    with pytest.raises(LogError, match="schema_version 2; expected 1"):
        list(log.feedback())


def test_an_empty_log_has_no_rows(tmp_path: Path) -> None:
    assert list(Log(str(tmp_path / "none")).predictions()) == []
    with pytest.raises(LogError, match="no predictions"):
        Log(str(tmp_path / "none")).labels()


def test_models_with_other_labels_are_not_one(log: Log, tmp_path: Path) -> None:
    assert log.labels() == LIVE.labels
    record = answered("a", "one", version="9")
    model = replace(record.answer.model, labels=("BAD", "FAIR", "GOOD"))
    write(tmp_path, [replace(record, answer=replace(record.answer, model=model))])
    with pytest.raises(LogError, match="different labels"):
        log.labels()
    assert log.labels(Window(version="9")) == ("BAD", "FAIR", "GOOD")


def test_a_window_has_a_time_zone() -> None:
    with pytest.raises(LogError, match="time zone"):
        Window(since=datetime(2026, 11, 26))


@pytest.fixture(scope="module")
def hourly(tmp_path_factory: pytest.TempPathFactory) -> Log:
    """Write one request per hour for five days, with feedback a minute later."""
    root = tmp_path_factory.mktemp("hourly")
    for day in range(5):
        hours = range(24 * day, 24 * (day + 1))
        write(
            root,
            [answered(f"{hour}", "one", seconds=3600 * hour) for hour in hours],
            [truth(f"{hour}", "NEGATIVE", seconds=3600 * hour + 60) for hour in hours],
        )
    return Log(str(root))


@settings(max_examples=40)
@given(since=st.integers(-30, 130), hours=st.integers(0, 60), begin=OFFSETS, end=OFFSETS)
def test_a_window_depends_on_its_instants_alone(
    hourly: Log, since: int, hours: int, begin: timezone, end: timezone
) -> None:
    """The partitions are UTC days, in whatever time zone the caller states the instants."""
    utc = Window(NOON + timedelta(hours=since), NOON + timedelta(hours=since + hours))
    local = Window(utc.since.astimezone(begin), utc.until.astimezone(end))
    champion = Version("m", "7", 1, "file:///b", "d" * 64, NOON, "run")

    expected = [hour for hour in range(120) if since <= hour < since + hours]
    assert ids(hourly, local) == expected
    said = {int(row) for batch in hourly.feedback(local) for row in batch["request_id"].to_pylist()}
    assert sorted(said) == expected
    assert summarise(hourly, local) == summarise(hourly, utc)
    assert version_name(champion, local, "/log") == version_name(champion, utc, "/log")


@pytest.mark.parametrize("minutes", [-1439, 1439])
def test_the_first_and_the_last_instant_have_no_other_time_zone(log: Log, minutes: int) -> None:
    zone = timezone(timedelta(minutes=minutes))
    whole = Window(datetime.min.replace(tzinfo=zone), datetime.max.replace(tzinfo=zone))
    assert ids(log, whole) == list(range(48))


def test_the_summary_counts_by_day_and_version(log: Log) -> None:
    found = summarise(log, Window())
    assert [(of.kind, of.day, of.version, of.rows, of.files) for of in found] == [
        ("predictions", "2026-11-26", "7", 24, 12),
        ("predictions", "2026-11-27", "7", 24, 12),
        ("predictions", "2026-11-27", "8+rc/1", 24, 12),
        ("predictions", "2026-11-28", "8+rc/1", 24, 12),
        ("feedback", "2026-11-26", None, 1, 1),
        ("feedback", "2026-11-27", None, 1, 1),
    ]
    assert all(isinstance(of, Holding) and of.size_bytes > 0 for of in found)


def test_a_file_of_an_earlier_release_has_no_audit_marks(tmp_path: Path) -> None:
    write(tmp_path, [answered("a", "one")])
    [path] = tmp_path.rglob("*.parquet")
    table = parquet.read_table(path, partitioning=None)
    parquet.write_table(table.drop_columns(["audit_fraction"]), path)
    write(tmp_path, [replace(answered("b", "two"), audit_fraction=0.5)])

    found = {
        row["request_id"]: row["audit_fraction"]
        for batch in Log(str(tmp_path)).predictions()
        for row in batch.to_pylist()
    }
    assert found == {"a": None, "b": 0.5}
