"""Texts from CSV (RFC 4180): which column holds them, and every row whole."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from serve_app.errors import Invalid, TooLarge
from serve_app.protocols.shape import invalid, too_many, utf8

COLUMNS = ("inputs", "text")
"""Names of a column of texts, in any case; the Hugging Face containers call it `inputs`."""

_NAMED = 10
_NAME_CHARS = 64


@dataclass(frozen=True, slots=True)
class CsvTexts:
    """The texts in the order of the rows.

    Attributes:
        texts: one a row.
        first_row: number of the first text's row, from 0; blank lines do not count.
        column: number of the texts' column, from 0.
    """

    texts: list[str]
    first_row: int
    column: int

    def place(self, index: int) -> str:
        """JSON pointer of the text with that index, of rows of columns."""
        return f"/{self.first_row + index}/{self.column}"


def read_csv(body: bytes, max_texts: int) -> CsvTexts:
    """Read the column of texts.

    With a header, it is the column `inputs` or `text`. Without one, there may be one column.

    Args:
        body: UTF-8 with or without a byte order mark; lines end with LF, CRLF or CR.
        max_texts: rows beyond it are not parsed.

    Raises:
        Invalid: not UTF-8 or not CSV, a row of another length than the first, or no single column of texts.
        TooLarge: more than `max_texts` texts, or a field over the parser's limit.
    """
    reader = csv.reader(io.StringIO(utf8(body).removeprefix("\ufeff"), newline=""), strict=True)
    filled = (row for row in reader if row)  # not `filter`: it would keep the interpreter over all blank rows
    try:
        first = next(filled, [])
        column = _column_of(first)
        texts = [] if column is not None else list(first)
        has_header, column = column is not None, column or 0
        for number, row in enumerate(filled, start=1):
            if len(row) != len(first):
                raise _wrong_length(number, len(row), len(first))
            texts.append(row[column])
            if len(texts) > max_texts:
                raise too_many(max_texts, f"more than {max_texts}")
    except csv.Error as error:
        message = f"line {reader.line_num} of the CSV body: {error}"
        if "field limit" in str(error):
            raise TooLarge(f"{message}; shorten it") from None
        raise invalid(
            [{"field": "", "message": f"{message}; close every quote, and double those inside"}]
        ) from None
    return CsvTexts(texts, int(has_header), column)


def _column_of(first: Sequence[str]) -> int | None:
    """The number of the texts' column by the header, or None for a single column without one."""
    known = [number for number, name in enumerate(first) if name.strip().lower() in COLUMNS]
    if len(known) == 1:
        return known[0]
    if len(first) < 2:
        return None
    found = ", ".join(repr(name[:_NAME_CHARS]) for name in first[:_NAMED])
    more = f" and {len(first) - _NAMED} more" if len(first) > _NAMED else ""
    message = f"one column named {' or '.join(COLUMNS)}, or a single column; the first row has {found}{more}"
    raise invalid([{"field": "/0", "message": message}])


def _wrong_length(number: int, found: int, expected: int) -> Invalid:
    message = f"{expected} columns as in the first row, got {found}; quote a text that holds a comma"
    return invalid([{"field": f"/{number}", "message": message}])
