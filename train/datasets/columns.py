"""Reader of files of texts as columns by name, in batches of rows, for all supported formats.

The formats are CSV, TSV, JSON lines and JSON arrays, each also as .gz, Parquet, and .xlsx if openpyxl is
installed. A folder's name such as `label=POSITIVE` is a column of all files below it, as in Hive and Spark.
"""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

from train.datasets.delimited import USUAL, DelimitedFile, Layout
from train.datasets.files import format_of, open_filesystem, warn_once
from train.errors import DataError

BATCH_ROWS = 2048

Columns = Mapping[str, Sequence[Any]]


def read_columns(
    file: str, needed: Sequence[str], wanted: Sequence[str], layout: Layout = USUAL
) -> Iterator[Columns]:
    """Yield batches of rows as columns by name: all of `needed`, and those of `wanted` that the file has.

    Args:
        file: File of `list_files`.
        needed: Required columns.
        wanted: Optional columns.
        layout: Layout of a CSV or TSV file.

    Raises:
        DataError: The file cannot be read, or a required column is missing.
    """
    kind = format_of(file)
    names, of_path = [*needed, *wanted], partition_columns(file)
    with _faults_of(file):
        for batch in _reader(file, kind, names, needed, layout):
            rows = len(next(iter(batch.values()), ()))
            added = {name: [value] * rows for name, value in of_path.items() if name in names}
            columns = {**added, **batch}
            if missing := [name for name in needed if name not in columns]:
                raise DataError(
                    f"{file} has no column {missing[0]!r}; it has {column_names(file, layout)}; name the "
                    "columns with --text-column and --label-column"
                )
            yield columns


def column_names(file: str, layout: Layout = USUAL, needed: Sequence[str] = ()) -> list[str]:
    """Return the sorted column names of a file; arguments and errors are those of `read_columns`."""
    kind = format_of(file)
    with _faults_of(file):
        if kind == "parquet":
            with _open_parquet(file) as parquet:
                names = list(parquet.schema_arrow.names)
        elif kind == "csv":
            with open_delimited(file, layout, needed) as delimited:
                names = delimited.names
        else:
            names = [name for batch in _reader(file, kind, None, (), layout) for name in batch]
    return sorted({*names, *partition_columns(file)})


@contextmanager
def _faults_of(file: str) -> Iterator[None]:
    """Convert the exceptions of a reader to DataError."""
    import pyarrow

    try:
        yield
    except (OSError, ValueError, EOFError, pyarrow.ArrowException) as error:
        raise DataError(f"{file} cannot be read as {format_of(file)}: {error}") from error


def partition_columns(file: str) -> dict[str, str]:
    """Return the columns that the folders of a path define, such as `label=POSITIVE`."""
    pairs = (part.partition("=") for part in PurePosixPath(file).parts[:-1])
    return {unquote(name): unquote(value) for name, equals, value in pairs if equals and name}


@contextmanager
def open_delimited(file: str, layout: Layout, needed: Sequence[str]) -> Iterator[DelimitedFile]:
    """Open a CSV or TSV file, compressed or not; the arguments are those of `DelimitedFile`."""
    of_path = partition_columns(file)
    with _open(file) as stream:
        delimited = DelimitedFile(file, stream, layout, [name for name in needed if name not in of_path])
        if detected := delimited.detected(layout):
            warn_once(f"{file}: read with {detected}")
        yield delimited


def _reader(
    file: str, kind: str, names: Sequence[str] | None, needed: Sequence[str], layout: Layout
) -> Iterator[Columns]:
    if kind == "parquet":
        return _parquet(file, names or ())
    if kind == "csv":
        return _csv(file, names or (), needed, layout)
    rows = {"jsonl": _json_lines, "json": _json_array, "xlsx": _sheet}[kind](file)
    return _of_rows(rows, names)


def _open(file: str) -> AbstractContextManager[Any]:
    system, path = open_filesystem(file)
    stream: AbstractContextManager[Any] = system.open_input_stream(path, compression="detect")
    return stream


def _open_parquet(file: str) -> Any:
    from pyarrow.parquet import ParquetFile

    system, path = open_filesystem(file)
    return ParquetFile(system.open_input_file(path))


def _parquet(file: str, names: Sequence[str]) -> Iterator[Columns]:
    with _open_parquet(file) as parquet:
        there = [name for name in dict.fromkeys(names) if name in parquet.schema_arrow.names]
        if not there:
            yield {}
        for batch in parquet.iter_batches(batch_size=BATCH_ROWS, columns=there):
            yield batch.to_pydict()


def _csv(file: str, names: Sequence[str], needed: Sequence[str], layout: Layout) -> Iterator[Columns]:
    with open_delimited(file, layout, needed) as delimited:
        yield from delimited.columns(names, BATCH_ROWS)


def _of_rows(rows: Iterator[Any], names: Sequence[str] | None) -> Iterator[Columns]:
    """Yield columns of objects, all keys if `names` is None; a missing key of an object gives None."""
    stretch: list[dict[str, Any]] = []

    def columns() -> Columns:
        there = {key for row in stretch for key in row if names is None or key in names}
        return {name: [row.get(name) for row in stretch] for name in there}

    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise ValueError(f"row {number}: expected an object, such as {{'text': …, 'label': …}}")
        stretch.append(row)
        if len(stretch) == BATCH_ROWS:
            yield columns()
            stretch = []
    if stretch:
        yield columns()


def _json_lines(file: str) -> Iterator[Any]:
    with _open(file) as stream:
        lines = (line for line in io.TextIOWrapper(stream, encoding="utf-8-sig") if line.strip())
        for number, line in enumerate(lines):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise ValueError(f"row {number}: {error}") from error


def _json_array(file: str) -> Iterator[Any]:
    with _open(file) as stream:
        content = stream.read().decode("utf-8-sig")
    try:
        values = json.loads(content)
    except ValueError:
        if content.lstrip().startswith("["):
            raise
        yield from _json_lines(file)  # one object per line, in a file named as an array
        return
    if not isinstance(values, list):
        values = [values] if "\n" not in content.strip() else None
    if values is None:
        raise ValueError("the file is one object; expected an array of objects, or one object per line")
    yield from values


def _sheet(file: str) -> Iterator[Any]:
    """Yield the rows of the first sheet, whose first row has the names."""
    try:
        from openpyxl import load_workbook  # type: ignore[import-untyped]
    except ImportError as error:
        raise DataError(
            f"{file}: openpyxl, which reads .xlsx, is not installed; run pip install openpyxl, or save the "
            "sheet as CSV UTF-8"
        ) from error
    with _open(file) as stream:
        book = load_workbook(io.BytesIO(stream.read()), read_only=True, data_only=True)
    rows = book.worksheets[0].iter_rows(values_only=True)
    names = [str(name) for name in next(rows, ()) if name is not None]
    for row in rows:
        if any(value is not None for value in row):
            yield dict(zip(names, row, strict=False))
