"""CSV bodies (RFC 4180): determines the column of texts, and reads it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from serve_app.errors import InvalidRequestError, PayloadTooLargeError
from serve_app.http.protocols.base import invalid, too_many, utf8

COLUMNS = ("inputs", "text")
"""Names of the column of texts, in any letter case; the Hugging Face containers use `inputs`."""

_NAMED = 10
_NAME_CHARS = 64


@dataclass(frozen=True, slots=True)
class CsvTexts:
    """Texts in the order of the rows.

    Attributes:
        texts: Texts, one per row.
        first_row: Index of the first text's row, from 0, without blank lines.
        column: Index of the column of texts, from 0.
    """

    texts: list[str]
    first_row: int
    column: int

    def place(self, index: int) -> str:
        """Return the JSON pointer, /row/column, of the text with that index."""
        return f"/{self.first_row + index}/{self.column}"


def read_csv(body: bytes, max_texts: int) -> CsvTexts:
    """Read the column of texts: the column `inputs` or `text`, or the only column of a body without a header.

    Args:
        body: UTF-8 with or without a byte order mark; lines end with LF, CRLF or CR.
        max_texts: Maximum number of texts; further rows are not parsed.

    Raises:
        InvalidRequestError: The body is not UTF-8 or not CSV, a row has another length than the first, or the
            column of texts is not unique.
        PayloadTooLargeError: There are more than `max_texts` texts, or a field exceeds the parser's limit.
    """
    reader = csv.reader(io.StringIO(utf8(body).removeprefix("\ufeff"), newline=""), strict=True)
    filled = (row for row in reader if row)  # `filter` would hold the interpreter lock for all blank rows
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
            raise PayloadTooLargeError(f"{message}; shorten it") from None
        raise invalid(
            [{"field": "", "message": f"{message}; close every quote, and double quotes inside a field"}]
        ) from None
    return CsvTexts(texts, int(has_header), column)


def _column_of(first: Sequence[str]) -> int | None:
    """Return the index of the column of texts by the header, or None for a single column without a header."""
    known = [number for number, name in enumerate(first) if name.strip().lower() in COLUMNS]
    if len(known) == 1:
        return known[0]
    if len(first) < 2:
        return None
    found = ", ".join(repr(name[:_NAME_CHARS]) for name in first[:_NAMED])
    more = f" and {len(first) - _NAMED} more" if len(first) > _NAMED else ""
    names = " or ".join(COLUMNS)
    message = f"expected one column named {names}, or a single column; the first row has {found}{more}"
    raise invalid([{"field": "/0", "message": message}])


def _wrong_length(number: int, found: int, expected: int) -> InvalidRequestError:
    message = f"expected {expected} columns as in the first row, got {found}; quote texts that contain commas"
    return invalid([{"field": f"/{number}", "message": message}])
