"""Reading labelled texts from one file, a stretch of rows at a time, each row checked.

Rows are counted from 0 below a CSV's header; an error names file, row and column.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from train.errors import DataInvalid
from train.settings import FileSettings
from train.texts.examples import Example
from train.texts.files import join, list_files, open_filesystem

BATCH_ROWS = 2048

Columns = Mapping[str, Sequence[Any]]


def read_file(
    file: str, source: FileSettings, labels: Sequence[str], columns: Sequence[str] = ()
) -> Iterator[list[Example]]:
    """The rows of one file in order, at most `BATCH_ROWS` at a time; those of dropped labels left out.

    Args:
        file: One of `list_files`.
        source: Its columns and what its labels mean.
        labels: In the order of the logits.
        columns: Further columns to keep, as strings; one that the file lacks is left out.

    Raises:
        DataInvalid: The file cannot be read, a column is missing, a text is empty, or a label is neither
            known nor dropped.
    """
    label_index = source.index_of(labels)
    row = 0
    for batch in read_columns(file, (source.text, source.label), columns):
        texts, values = batch[source.text], batch[source.label]
        kept = {name: batch[name] for name in columns if name in batch}
        examples = []
        for i, (text, value) in enumerate(zip(texts, values, strict=True)):
            label = _as_string(value)
            if label in source.drop_labels:
                continue
            where = f"{file} row {row + i} column"
            if label not in label_index:
                raise DataInvalid(
                    f"{where} {source.label!r}: label {label!r} is in neither label_names nor drop_labels; "
                    f"known are {sorted(label_index)}"
                )
            if not isinstance(text, str) or not text.strip():
                raise DataInvalid(f"{where} {source.text!r}: the text is empty; remove the row")
            further = {name: _as_string(of[i]) for name, of in kept.items()}
            examples.append(Example(text, label_index[label], further))
        row += len(texts)
        yield examples


def read_examples(
    root: str, source: FileSettings, labels: Sequence[str], columns: Sequence[str] = ()
) -> list[Example]:
    """All rows of all files of a set, in memory; arguments and errors as of `read_file`.

    Args:
        root: Folder or address that `source.file` is relative to.
        source: The set.
        labels: In the order of the logits.
        columns: Further columns to keep.
    """
    return [
        example
        for file in list_files(join(root, source.file))
        for batch in read_file(file, source, labels, columns)
        for example in batch
    ]


def label_values(root: str, source: FileSettings) -> list[str]:
    """The distinct values of a set's label column, sorted, those to be dropped left out."""
    found: set[str] = set()
    for file in list_files(join(root, source.file)):
        for batch in read_columns(file, (source.label,), ()):
            found.update(map(_as_string, batch[source.label]))
    return sorted(found - set(source.drop_labels))


def read_columns(file: str, needed: Sequence[str], wanted: Sequence[str]) -> Iterator[Columns]:
    """Stretches of a file as columns by name: all of `needed`, and of `wanted` those that the file has.

    Raises:
        DataInvalid: The file cannot be read, or a needed column is missing.
    """
    import pyarrow

    suffix = PurePosixPath(file).suffix
    reader = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}[suffix]
    try:
        for batch in reader(file, [*needed, *wanted]):
            if missing := [name for name in needed if name not in batch]:
                raise DataInvalid(f"{file} has no column {missing[0]!r}; it has {column_names(file)}")
            yield batch
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise DataInvalid(f"{file} cannot be read as {suffix[1:]}: {error}") from error


def column_names(file: str) -> list[str]:
    """Names of the columns of a readable file, sorted."""
    suffix = PurePosixPath(file).suffix
    if suffix == ".parquet":
        with _open_parquet(file) as parquet:
            return sorted(parquet.schema_arrow.names)
    if suffix == ".csv":
        with _open_csv(file, ()) as reader:
            return sorted(reader.schema.names)
    return sorted({name for batch in _jsonl(file, None) for name in batch})


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


def _open_csv(file: str, as_text: Sequence[str]) -> Any:
    from pyarrow import csv, string

    system, path = open_filesystem(file)
    return csv.open_csv(
        system.open_input_stream(path),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(column_types={name: string() for name in as_text}),
    )


def _csv(file: str, names: Sequence[str]) -> Iterator[Columns]:
    with _open_csv(file, names) as reader:
        there = [name for name in dict.fromkeys(names) if name in reader.schema.names]
        for block in reader:
            chosen = block.select(there)
            for begin in range(0, max(chosen.num_rows, 1), BATCH_ROWS):
                yield chosen.slice(begin, BATCH_ROWS).to_pydict()


def _jsonl(file: str, names: Sequence[str] | None) -> Iterator[Columns]:
    """Columns of objects, one a line; a key that an object lacks is None. All keys if `names` is None."""
    system, path = open_filesystem(file)
    rows: list[dict[str, Any]] = []

    def columns() -> Columns:
        there = {key for row in rows for key in row if names is None or key in names}
        return {name: [row.get(name) for row in rows] for name in there}

    with system.open_input_stream(path) as stream:
        for number, line in enumerate(_lines(stream)):
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError(f"row {number}: {error}") from error
            if not isinstance(row, dict):
                raise ValueError(f"row {number}: not an object")
            rows.append(row)
            if len(rows) == BATCH_ROWS:
                yield columns()
                rows = []
    if rows:
        yield columns()


def _lines(stream: Any) -> Iterator[str]:
    import io

    for line in io.TextIOWrapper(stream, encoding="utf-8"):
        if line.strip():
            yield line


def _as_string(value: object) -> str:
    """A label as it is compared: 1, 1.0 and "1" are the same."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
