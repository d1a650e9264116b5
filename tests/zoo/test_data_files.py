"""Tests of the data files: each is read as intended, or refused with the position and the useful option."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.zoo.data_files import DATA_FILES, TWO_ROWS, DataFile
from train.datasets.columns import column_names
from train.datasets.reading import label_values, read_examples
from train.errors import TrainError
from train.settings import FileSettings

LABELS = ("NEGATIVE", "POSITIVE")
CASES = pytest.mark.parametrize("file", DATA_FILES, ids=[file.name for file in DATA_FILES])


@CASES
def test_a_file_is_read_or_refused_with_what_helps(file: DataFile, tmp_path: Path) -> None:
    file.write(tmp_path / file.name)
    source = FileSettings.model_validate({"name": "zoo", "file": file.name, **file.options})
    if file.message:
        with pytest.raises(TrainError, match=f"(?s){file.message}"):
            read_examples(str(tmp_path), source, LABELS)
        return
    read = [(example.text, LABELS[example.label]) for example in read_examples(str(tmp_path), source, LABELS)]
    assert read == (file.rows or TWO_ROWS)


def test_what_a_folder_is_read_of_and_what_is_passed_over_is_listed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    [mixed] = [file for file in DATA_FILES if file.name == "mixed"]
    mixed.write(tmp_path / "mixed")
    assert label_values(str(tmp_path), FileSettings(name="zoo", file="mixed")) == ["NEGATIVE", "POSITIVE"]
    assert "reading a.csv, b.jsonl; ignored because of their suffix: notes.docx" in caplog.text


def test_a_delimiter_that_was_found_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    [semicolons] = [file for file in DATA_FILES if file.name == "semicolons.csv"]
    semicolons.write(tmp_path / "semicolons.csv")
    read_examples(str(tmp_path), FileSettings(name="zoo", file="semicolons.csv"), LABELS)
    assert "read with semicolon as delimiter" in caplog.text


def test_the_columns_are_those_of_the_delimiter_that_the_needed_ones_tell(tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_text("when;text;label\n2020;good;POSITIVE\n", encoding="utf-8")
    assert column_names(str(tmp_path / "set.csv"), needed=("text",)) == ["label", "text", "when"]


def test_labels_are_the_distinct_values_without_the_empty_ones(tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_text("text,label\na,1\nb,1.0\nc, 1\nd,\ne,0\n", encoding="utf-8")
    assert label_values(str(tmp_path), FileSettings(name="zoo", file="set.csv")) == ["0", "1"]


def test_a_sheet_is_read(tmp_path: Path) -> None:
    source = FileSettings(name="zoo", file="sheet.xlsx")
    (tmp_path / "sheet.xlsx").write_bytes(b"")
    try:
        from openpyxl import Workbook
    except ImportError:
        with pytest.raises(TrainError, match="pip install openpyxl, or save the sheet as CSV"):
            read_examples(str(tmp_path), source, LABELS)
        return
    book = Workbook()
    for row in [("text", "label"), *TWO_ROWS]:
        book.active.append(row)
    book.save(tmp_path / "sheet.xlsx")
    examples = read_examples(str(tmp_path), source, LABELS)
    assert [(example.text, LABELS[example.label]) for example in examples] == TWO_ROWS
