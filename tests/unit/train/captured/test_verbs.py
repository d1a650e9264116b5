"""`python -m train feedback import`, `log show`, `log compact`: what they print, write and refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.unit.train.captured.logs import answered, write
from train.__main__ import main
from train.captured.joining import Join, JoinCounts
from train.captured.reading import Log, Window


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

    assert capsys.readouterr().out == f'2 rows of feedback are in {root}\n{{"rows": 2}}\n'
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


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("007,1,GOOD,", "row 1 column 'label': label 'GOOD'; the model has NEGATIVE, NEUTRAL, POSITIVE"),
        ("007,-1,NEGATIVE,", "row 1 column 'index': '-1'"),
        ("007,first,NEGATIVE,", "row 1 column 'index': 'first'"),
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
