"""Tests of file formats: all give the same rows, and a fault is reported with file, row and column."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from train.datasets.examples import Example
from train.datasets.files import list_files
from train.datasets.reading import BATCH_ROWS, label_values, read_examples, read_file
from train.errors import DataError
from train.settings import FileSettings

LABELS = ("NEGATIVE", "POSITIVE")
NAMES = {"0": "NEGATIVE", "1": "POSITIVE"}


def source(file: str, **changes: object) -> FileSettings:
    fields = {"name": "set", "file": file, "label_names": NAMES}
    return FileSettings.model_validate(fields | changes)


def read(path: Path, columns: Sequence[str] = (), **changes: object) -> list[Example]:
    return read_examples(str(path.parent), source(path.name, **changes), LABELS, columns)


def write(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    elif path.suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    return path


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {"text": ["good", "bad", "so, so\nlong"], "label": [1, 0, 2], "shop": ["a", "b", "b"]}
    )


@pytest.fixture(params=["csv", "jsonl", "parquet"])
def suffix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_format_gives_the_same_examples(tmp_path: Path, frame: pd.DataFrame, suffix: str) -> None:
    path = write(frame, tmp_path / f"set.{suffix}")

    assert read(path, drop_labels=["2"]) == [Example("good", 1), Example("bad", 0)]
    assert read(path, columns=["shop", "absent"], drop_labels=["1", "2"]) == [
        Example("bad", 0, {"shop": "b"})
    ]


def test_a_label_may_be_any_kind_of_number(tmp_path: Path, suffix: str) -> None:
    path = write(pd.DataFrame({"text": ["good", "bad"], "label": [1.0, 0.0]}), tmp_path / f"set.{suffix}")

    labels = [
        example.label for example in read(path, label_names={**NAMES, "1.0": "POSITIVE", "0.0": "NEGATIVE"})
    ]

    assert labels == [1, 0]


def test_without_names_the_values_are_the_labels(tmp_path: Path) -> None:
    path = write(pd.DataFrame({"text": ["x", "y"], "label": ["POSITIVE", "NEGATIVE"]}), tmp_path / "set.csv")

    assert [example.label for example in read(path, label_names={})] == [1, 0]
    assert label_values(str(tmp_path), source("set.csv")) == ["NEGATIVE", "POSITIVE"]


def test_a_folder_is_all_its_files(tmp_path: Path, frame: pd.DataFrame) -> None:
    (tmp_path / "set" / "inner").mkdir(parents=True)
    write(frame[:1], tmp_path / "set" / "b.csv")
    write(frame[1:2], tmp_path / "set" / "inner" / "a.parquet")
    (tmp_path / "set" / "_SUCCESS.csv").write_text("a mark of Spark's, not data")
    (tmp_path / "set" / "notes.txt").write_text("not data either")

    assert read(tmp_path / "set") == [Example("good", 1), Example("bad", 0)]


def test_a_long_file_comes_in_stretches_and_keeps_its_row_numbers(tmp_path: Path, suffix: str) -> None:
    rows = 2 * BATCH_ROWS + 10
    long = pd.DataFrame({"text": [f"text {i}" for i in range(rows)], "label": [i % 2 for i in range(rows)]})
    path = write(long, tmp_path / f"set.{suffix}")

    batches = list(read_file(str(path), source("set"), LABELS))
    assert max(map(len, batches)) <= BATCH_ROWS
    assert [example.text for batch in batches for example in batch] == list(long.text)

    long.loc[rows - 3, "label"] = 7
    write(long, path)
    with pytest.raises(DataError, match=rf"set\.{suffix} row {rows - 3} column 'label': label '7'"):
        read(path)


def test_bad_rows_are_named(tmp_path: Path, frame: pd.DataFrame, suffix: str) -> None:
    path = write(frame, tmp_path / f"set.{suffix}")
    with pytest.raises(DataError, match=rf"set\.{suffix} row 2 column 'label': label '2'"):
        read(path)
    with pytest.raises(DataError, match=r"no column 'body'; it has \['label', 'shop', 'text'\]"):
        read(path, text="body")
    frame.loc[1, "text"] = "  "
    write(frame, path)
    with pytest.raises(DataError, match=rf"set\.{suffix} row 1 column 'text': the text is empty"):
        read(path, drop_labels=["2"])


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"broken\.parquet cannot be read as parquet"):
        read(tmp_path / "broken.parquet")
    (tmp_path / "broken.jsonl").write_text('{"text": "fine", "label": 1}\n{"text": \n')
    with pytest.raises(DataError, match=r"broken\.jsonl cannot be read as jsonl: row 1"):
        read(tmp_path / "broken.jsonl")
    (tmp_path / "broken.csv").write_text("text,label\nfine,1\nfine,1,more\n")
    with pytest.raises(DataError, match=r"broken\.csv cannot be read as csv"):
        read(tmp_path / "broken.csv")
    with pytest.raises(DataError, match="does not exist"):
        read(tmp_path / "absent.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has no file"):
        list_files(str(tmp_path / "empty"))


def test_a_damaged_parquet_is_named_even_if_its_footer_is_whole(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": [f"text {i}" for i in range(5000)], "label": [i % 2 for i in range(5000)]})
    path = write(frame, tmp_path / "set.parquet")
    damaged = bytearray(path.read_bytes())
    damaged[100:2000] = bytes(1900)
    path.write_bytes(damaged)

    with pytest.raises(DataError, match=r"set\.parquet cannot be read as parquet"):
        read(path)
