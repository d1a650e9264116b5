"""Reader of labelled texts from one file, in batches of rows, with a check of each row.

Rows are counted from 0 below a header; an error names file, row and column.
"""

import logging
import math
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from serve_app.errors import excerpt
from train.datasets.columns import BATCH_ROWS, read_columns
from train.datasets.delimited import Layout
from train.datasets.examples import Example
from train.datasets.files import join, list_files
from train.errors import DataError
from train.settings import FileSettings

__all__ = ["BATCH_ROWS", "label_values", "read_columns", "read_examples", "read_file"]

_NAMED_ROWS = 10
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class BadRows:
    """Unusable rows of a file: the number of all, and the first ones by name."""

    file: str
    allowed: int
    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, row: int, column: str, reason: str) -> None:
        self.count += 1
        if len(self.first) < _NAMED_ROWS:
            self.first.append(f"row {row} column {column!r}: {reason}")

    def finish(self) -> None:
        """Raise DataError if there are more than allowed; otherwise log them."""
        if not self.count:
            return
        rows = "; ".join(self.first)
        if self.count <= self.allowed:
            _log.warning("%s: skipped %s invalid rows: %s", self.file, self.count, rows)
            return
        raise DataError(
            f"{self.file} {rows}; {self.count} invalid rows in total: correct them, or skip them with "
            f"--skip-bad-rows {self.count}"
        )


def read_file(
    file: str, source: FileSettings, labels: Sequence[str], columns: Sequence[str] = ()
) -> Iterator[list[Example]]:
    """Yield the rows of one file in order, at most `BATCH_ROWS` at a time, without those of dropped labels.

    Args:
        file: File of `list_files`.
        source: Its columns and the mapping of its labels.
        labels: Labels in the order of the logits.
        columns: Further columns to keep, as strings; those that the file lacks are omitted.

    Raises:
        DataError: The file cannot be read or a column is missing; after the last row, if more rows than
            `source.skip_bad_rows` have no text or a label that is neither known nor dropped.
    """
    known = {str(normalised(value)): index for value, index in source.index_of(labels).items()}
    dropped = {normalised(value) for value in source.drop_labels}
    bad = BadRows(file, source.skip_bad_rows)
    row = 0
    for batch in read_columns(file, (source.text, source.label), columns, layout_of(source)):
        texts, values = batch[source.text], batch[source.label]
        kept = {name: batch[name] for name in columns if name in batch}
        examples = []
        for i, (text, value) in enumerate(zip(texts, values, strict=True)):
            label = normalised(value)
            if label in dropped:
                continue
            if label is None or label not in known:
                value_is = "no label" if label is None else f"label {excerpt(label)}"
                bad.add(
                    row + i,
                    source.label,
                    f"{value_is}; expected one of {sorted(known)}, or a mapping with --label-map",
                )
            elif reason := text_fault(text, known):
                bad.add(row + i, source.text, reason)
            else:
                further = {name: str(normalised(of[i])) for name, of in kept.items()}
                examples.append(Example(text, known[label], further))
        row += len(texts)
        yield examples
    bad.finish()


def text_fault(text: object, known: Collection[str] = ()) -> str | None:
    """Return why a text cannot be used, or None; `known` are the values of the label column, if any."""
    if text is None or (isinstance(text, float) and math.isnan(text)):
        return "the text is empty"
    if not isinstance(text, str):
        return f"the text has the type {type(text).__name__}; expected a string"
    if not text.strip():
        return "the text is empty"
    if known and len(lines := text.splitlines()) > 1:
        # A quote was opened in a text and closed in another row, so the lines between them are rows.
        ends = [normalised(re.split(r"[,;\t|]", line)[-1].strip('"')) for line in lines[:-1]]
        starts = [normalised(re.split(r"[,;\t|]", line)[0].strip('"')) for line in lines[1:]]
        if any(re.search(r"[,;\t|]", line) for line in lines) and (
            set(ends) <= set(known) or set(starts) <= set(known)
        ):
            return f"the text contains {len(lines) - 1} further rows, because a quote in it is not closed"
    return None


def layout_of(source: FileSettings) -> Layout:
    """Return the layout of the set's CSV files."""
    return Layout(source.delimiter, source.encoding, source.header)


def read_examples(
    root: str, source: FileSettings, labels: Sequence[str], columns: Sequence[str] = ()
) -> list[Example]:
    """Return all rows of all files of a set, in memory; arguments and errors are those of `read_file`.

    Args:
        root: Folder or URI that `source.file` is relative to.
        source: Set to read.
        labels: Labels in the order of the logits.
        columns: Further columns to keep.
    """
    return [
        example
        for file in list_files(join(root, source.file))
        for batch in read_file(file, source, labels, columns)
        for example in batch
    ]


def label_values(root: str, source: FileSettings) -> list[str]:
    """Return the distinct values of a set's label column, sorted, without those to be dropped."""
    found: set[str] = set()
    for file in list_files(join(root, source.file)):
        for batch in read_columns(file, (source.label,), (), layout_of(source)):
            found.update(label for value in batch[source.label] if (label := normalised(value)) is not None)
    return sorted(found - {str(normalised(value)) for value in source.drop_labels})


def normalised(value: object) -> str | None:
    """Return a label in normal form: 1, 1.0, "1.0" and " 1 " are equal, and so are true, True and "TRUE".

    Return None for an empty value or NaN.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    text = str(value).strip()
    if re.fullmatch(r"-?\d+\.0*", text):
        return text.partition(".")[0]
    if text.lower() in ("true", "false"):
        return text.lower()
    return text or None
