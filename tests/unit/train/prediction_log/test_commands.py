"""Tests of `python -m train feedback import`, `log show` and `log compact`: outputs, files and errors."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.unit.train.prediction_log.logs import answered, write
from train.__main__ import main
from train.prediction_log.join import Join, JoinCounts
from train.prediction_log.reader import Log, Window


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / "log", [answered("007", "one", "two")])
    write(tmp_path / "log", [answered("b", "three")])
    return tmp_path / "log"


def test_import_reaches_the_predictions(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    csv = tmp_path / "said.csv"
    csv.write_text(
        "request_id,index,label,time\n007,1,NEGATIVE,2026-11-26T12:30:00+00:00\nb,,POSITIVE,2026-11-26T13:00:00Z\n"
    )
    command = ["feedback", "import", str(csv), "--log", str(root)]
    assert main(command) == 0 and main([*command, "--json"]) == 0

    said = capsys.readouterr().out
    assert said.startswith(f"2 rows of feedback are in {root}\n{{")
    counts = {"rows": 2, "decimal_index": 0, "future_time": 0, "duplicate": 0, "contradicting": 0}
    assert json.loads(said.splitlines()[1]) == counts
    join = Join(Log(str(root)), Window(), ("text",))
    rows = {row["text"]: row["truth"] for batch in join for row in batch.to_pylist()}
    assert rows == {"two": "NEGATIVE", "three": "POSITIVE"}
    assert join.counts == JoinCounts(feedback=4, joined=2, duplicate=2)


def test_import_takes_parquet_with_other_names(root: Path, tmp_path: Path) -> None:
    parquet.write_table(pa.table({"id": ["b"], "verdict": [0]}), tmp_path / "said.parquet")
    command = [
        "feedback",
        "import",
        str(tmp_path / "said.parquet"),
        "--log",
        str(root),
        "--request-id-column",
    ]
    assert main([*command, "id", "--label-column", "verdict", "--label-names", "0=NEGATIVE"]) == 0
    [batch] = Log(str(root)).feedback()
    [row] = batch.to_pylist()
    assert (row["request_id"], row["index"], row["label"], row["source"]) == (
        "b",
        0,
        "NEGATIVE",
        "said.parquet",
    )


def imported(
    root: Path, file: Path, capsys: pytest.CaptureFixture[str], *options: str
) -> tuple[dict[str, int], str]:
    """Return the counts of `feedback import`, and its output for people."""
    command = ["feedback", "import", str(file), "--log", str(root), *options]
    assert main([*command, "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)
    assert main(command) == 0
    return counts, capsys.readouterr().out


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_an_index_that_pandas_made_a_decimal_number_is_read_and_counted(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    frame = pd.DataFrame({"request_id": ["007", "007", "b"], "index": [1.0, 0.0, None], "label": "NEGATIVE"})
    file = tmp_path / f"said.{kind}"
    match kind:
        case "csv":
            frame.to_csv(file, index=False)
        case "jsonl":
            frame.to_json(file, orient="records", lines=True)
        case "parquet":
            frame.to_parquet(file)
    counts, said = imported(root, file, capsys)
    assert counts["rows"] == 3 and counts["decimal_index"] == 2
    assert "2 with the index as a decimal number" in said
    indices = {
        (row["request_id"], row["index"]) for one in Log(str(root)).feedback() for row in one.to_pylist()
    }
    assert indices == {("007", 1), ("007", 0), ("b", 0)}


def test_a_time_in_the_future_is_counted_and_does_not_outweigh_what_is_said_later(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = datetime.now(UTC)
    file = tmp_path / "said.csv"
    file.write_text(
        "request_id,index,label,time\n007,0,NEGATIVE,2999-01-01T00:00:00Z\n"
        f"007,1,NEGATIVE,{(before + timedelta(hours=9)).replace(tzinfo=None).isoformat()}\n"
        f"b,0,NEGATIVE,{(before + timedelta(seconds=30)).isoformat()}\n"
    )
    counts, said = imported(root, file, capsys)
    assert counts["rows"] == 3 and counts["future_time"] == 2, "a clock may be a minute ahead"
    assert "2 with a time in the future" in said
    times = [row["time"] for batch in Log(str(root)).feedback() for row in batch.to_pylist()]
    assert all(before <= time <= datetime.now(UTC) + timedelta(minutes=1) for time in times)
    join = Join(Log(str(root)), Window(), ("text",))
    assert {row["truth"] for batch in join for row in batch.to_pylist()} == {"NEGATIVE"}


def test_a_label_is_read_as_data_files_are(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The number 1.0 is read as the label 1, and true as the label True, as a model may name them."""
    file = tmp_path / "said.jsonl"
    file.write_text('{"request_id": "007", "label": 1.0}\n{"request_id": "b", "label": true}\n')
    counts, _ = imported(root, file, capsys, "--labels", "True", "POSITIVE", "--label-names", "1=POSITIVE")
    assert counts["rows"] == 2
    labels = {row["label"] for batch in Log(str(root)).feedback() for row in batch.to_pylist()}
    assert labels == {"True", "POSITIVE"}


def test_a_file_without_rows_is_imported(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "said.csv").write_text("request_id,label\n")
    assert imported(root, tmp_path / "said.csv", capsys)[0]["rows"] == 0


def test_ids_that_come_twice_are_counted_by_what_they_say(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "said.csv"
    file.write_text(
        "request_id,index,label,time\n"
        "007,0,NEGATIVE,2026-11-26T12:30:00Z\n007,0.0,NEGATIVE,2026-11-26T12:31:00Z\n007,0,NEGATIVE,\n"
        "b,0,NEGATIVE,2026-11-26T12:30:00Z\nb,0,POSITIVE,2026-11-26T12:31:00Z\n"
        "007,1,POSITIVE,\n"
    )
    counts, said = imported(root, file, capsys)
    assert (counts["rows"], counts["duplicate"], counts["contradicting"]) == (6, 2, 1)
    assert "2 repeated" in said
    assert "1 texts with different labels" in said


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("007,1,GOOD,", "row 1 column 'label': label 'GOOD'; expected one of NEGATIVE, NEUTRAL, POSITIVE"),
        ("007,-1,NEGATIVE,", "row 1 column 'index': '-1'"),
        ("007,first,NEGATIVE,", "row 1 column 'index': 'first'"),
        ("007,0.5,NEGATIVE,", "row 1 column 'index': '0.5'"),
        ("007,inf,NEGATIVE,", "row 1 column 'index': 'inf'"),
        (",1,NEGATIVE,", "row 1 column 'request_id'"),
        ("007,1,NEGATIVE,yesterday", "row 1 column 'time': 'yesterday'"),
    ],
)
def test_a_row_that_is_no_feedback_stops_all(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], row: str, message: str
) -> None:
    (tmp_path / "said.csv").write_text(f"request_id,index,label,time\nb,0,POSITIVE,\n{row}\n")
    assert main(["feedback", "import", str(tmp_path / "said.csv"), "--log", str(root)]) == 1
    assert message in capsys.readouterr().err
    assert list(Log(str(root)).feedback()) == []


def test_show_and_compact(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["log", "compact", "--log", str(root), "--before", "2026-11-27"]) == 0
    assert "2 files are 1 now: 1 written, 0 replaced ones removed" in capsys.readouterr().out
    assert main(["log", "show", "--log", str(root), "--since", "2026-11-26", "--json"]) == 0
    [holding] = json.loads(capsys.readouterr().out)
    assert (holding["day"], holding["version"], holding["rows"], holding["files"]) == (
        "2026-11-26",
        "7",
        3,
        1,
    )
    assert main(["log", "show", "--log", str(root)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[:5] == [
        "predictions",
        "2026-11-26",
        "7",
        "3",
        "1",
    ]
