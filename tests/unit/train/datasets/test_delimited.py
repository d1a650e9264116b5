"""Tests of CSV files: values of any length, without a change to the process-wide limit of the csv module."""

from __future__ import annotations

import csv
import io

from train.datasets.delimited import USUAL, DelimitedFile


def test_a_long_value_is_read_and_the_limit_of_the_process_stays() -> None:
    limit = csv.field_size_limit()
    long = "x" * (limit + 1)
    file = DelimitedFile("one.csv", io.BytesIO(f"text,label\n{long},1\n".encode()), USUAL, ["text"])
    (rows,) = file.columns(["text"], 10)
    assert list(rows["text"]) == [long]
    assert csv.field_size_limit() == limit
