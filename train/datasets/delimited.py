"""Reader of CSV and TSV files as columns of strings, with detection of encoding and delimiter."""

import csv
import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO

from train.errors import DataError

_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
_HEAD_BYTES = 1 << 16
_BOMS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


@dataclass(frozen=True, slots=True)
class Layout:
    """Known layout of a delimited file; None is detected."""

    delimiter: str | None = None
    encoding: str | None = None
    has_header: bool = True
    """Whether the file has a header; without one, the columns are named 1, 2, 3 and so on."""


USUAL = Layout()


class DelimitedFile:
    """Reader of an open CSV or TSV file.

    Args:
        file: Name of the file for error messages.
        stream: Binary stream of its contents.
        layout: Known layout.
        needed: Columns by which the delimiter is detected.

    Raises:
        DataError: The header is not readable, or no delimiter fits.
    """

    def __init__(self, file: str, stream: BinaryIO, layout: Layout, needed: Sequence[str]) -> None:
        self._file = file
        self._usual = "\t" if ".tsv" in file.lower() else ","
        buffered = io.BufferedReader(stream, _HEAD_BYTES)  # type: ignore[type-var]
        head = buffered.peek(4)
        self.encoding = layout.encoding or next(
            (encoding for bom, encoding in _BOMS.items() if head.startswith(bom)), "utf-8"
        )
        try:
            self._text = io.TextIOWrapper(buffered, encoding=self.encoding, newline="")
        except LookupError as error:
            raise DataError(
                f"{file}: {layout.encoding!r} is not a known encoding; set --encoding, such as utf-8 or "
                "cp1252"
            ) from error
        first = self._first_line()
        self.delimiter = layout.delimiter or self._detect(first, needed if layout.has_header else ())
        lines = _chained(first, self._text)
        self._reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
        self._first: list[list[str]] = []
        names = self._next_row(-1) or []
        if not layout.has_header:
            self._first = [names]
            names = [str(number) for number in range(1, len(names) + 1)]
        self.names = [name.strip() for name in names]
        """Names of the columns, in order."""

    def detected(self, layout: Layout) -> str | None:
        """Return a description of the detected delimiter and encoding, or None for the default ones."""
        found = []
        if layout.delimiter is None and self.delimiter != self._usual:
            found.append(f"{_DELIMITERS.get(self.delimiter, self.delimiter)} as delimiter")
        if layout.encoding is None and not self.encoding.startswith("utf-8"):
            found.append(f"encoding {self.encoding}")
        return " and ".join(found) or None

    def columns(self, names: Sequence[str], rows: int) -> Iterator[Mapping[str, Sequence[str]]]:
        """Yield batches of at most `rows` rows of those columns that the file has.

        Raises:
            DataError: A row has another number of values than the header, or cannot be read.
        """
        index = {name: self.names.index(name) for name in dict.fromkeys(names) if name in self.names}
        numbered = self._rows()
        while True:
            stretch = list(islice(numbered, rows))
            yield {name: [row[place] for row in stretch] for name, place in index.items()}
            if len(stretch) < rows:
                return

    def _rows(self) -> Iterator[list[str]]:
        yield from self._first
        number = len(self._first)
        while (row := self._next_row(number)) is not None:
            if len(row) != len(self.names):
                if not row:
                    continue  # empty line
                raise DataError(
                    f"{self._at(number)}: {len(row)} values; expected {len(self.names)} as in the header "
                    f"(delimiter: {_DELIMITERS.get(self.delimiter, self.delimiter)}); quote values that "
                    "contain the delimiter, or set --delimiter"
                )
            yield row
            number += 1

    def _next_row(self, number: int) -> list[str] | None:
        limit = csv.field_size_limit(sys.maxsize)  # the limit is global, and requests use it too
        try:
            return next(self._reader)
        except StopIteration:
            return None
        except UnicodeDecodeError as error:
            raise self._undecodable(number, error) from error
        except csv.Error as error:
            where = f"{self._at(number)}: {error}"
            if "end of data" in str(error):
                where = (
                    f"{self._at(number)}: a quote is not closed, so the rest of the file would be one value"
                )
            raise DataError(
                f"{where}; close the quote, double quotes inside a quoted value, or set --delimiter or "
                "--encoding"
            ) from error
        finally:
            csv.field_size_limit(limit)

    def _first_line(self) -> str:
        try:
            return self._text.readline()
        except UnicodeError as error:
            raise self._undecodable(-1, error) from error

    def _undecodable(self, number: int, error: UnicodeError) -> DataError:
        return DataError(
            f"{self._at(number)} or a later one is not {self.encoding} ({getattr(error, 'reason', error)}); "
            "set --encoding, such as cp1252 (Excel on Windows) or latin-1"
        )

    def _at(self, number: int) -> str:
        line = self._reader.line_num if hasattr(self, "_reader") else 1
        location = "the header" if number < 0 else f"row {number} (ends in line {line})"
        return f"{self._file} cannot be read as csv: {location}"

    def _detect(self, header: str, needed: Sequence[str]) -> str:
        """Return the delimiter that gives the needed columns of the header, or the default one."""
        fitting = [
            delimiter
            for delimiter in _DELIMITERS
            if set(needed) <= {name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])}
        ]
        if self._usual in fitting or len(fitting) != 1:
            return self._usual
        return fitting[0]


def _chained(first: str, rest: Any) -> Iterator[str]:
    yield first
    yield from rest
