"""Texts to send: from a file, or generated with realistic lengths."""

import csv
import json
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from loadtest.errors import TextsError
from loadtest.synthetic_texts import invent

MAX_TEXTS = 20_000
"""Maximum number of texts from a file, drawn by seed over the entire file: it may be sorted by label."""

INVENTED_TEXTS = 4_096
"""Number of generated texts: none repeats within six minutes at 600 per minute, so no cache can help."""

COLUMN = "text"


def corpus(path: Path | None, seed: int) -> tuple[str, ...]:
    """Return the texts to send, in an order drawn by `seed`; at least one, none of them blank.

    Args:
        path: A .txt (one text per line), or a .csv, .parquet or .jsonl with a column `text`; None generates
            texts.
        seed: Seed of the order, of the selection from a large file, and of generated texts.

    Raises:
        TextsError: The file does not exist, has an unknown ending or no column `text`, or contains no text.
    """
    if path is None:
        return invent(INVENTED_TEXTS, seed)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise TextsError(
            f"--texts {path}: unknown suffix {path.suffix!r}; expected one of {', '.join(_READERS)}"
        )
    try:
        texts = [text for text in reader(path) if text.strip()]
    except (OSError, ValueError) as error:
        raise TextsError(f"--texts {path}: cannot be read: {error}") from error
    if not texts:
        raise TextsError(
            f"--texts {path}: no texts; expected one text per line, or a column named {COLUMN!r}"
        )
    return tuple(random.Random(seed).sample(texts, min(len(texts), MAX_TEXTS)))


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        yield from (line.rstrip("\n") for line in file)


def _csv(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from (_text_of(row, f"row {number}") for number, row in enumerate(csv.DictReader(file), 1))


def _jsonl(path: Path) -> Iterator[str]:
    for number, line in enumerate(_lines(path), 1):
        if line.strip():
            yield _text_of(json.loads(line), f"line {number}")


def _parquet(path: Path) -> Iterator[str]:
    import pyarrow.parquet  # half a second and 100 MB that only this file type needs

    with pyarrow.parquet.ParquetFile(path) as file:
        if COLUMN not in file.schema_arrow.names:
            raise ValueError(f"no column {COLUMN!r}; the columns are {file.schema_arrow.names}")
        for batch in file.iter_batches(columns=[COLUMN]):
            yield from (text for text in batch.column(0).to_pylist() if isinstance(text, str))


def _text_of(row: object, where: str) -> str:
    if not isinstance(row, Mapping) or not isinstance(row.get(COLUMN), str):
        actual = list(row) if isinstance(row, Mapping) else type(row).__name__
        raise ValueError(f"{where}: expected a string in the column {COLUMN!r}, got {actual}")
    return str(row[COLUMN])


_READERS: Mapping[str, Callable[[Path], Iterator[str]]] = {
    ".txt": _lines,
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}
