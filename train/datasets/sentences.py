"""Sentences of a set's training texts: unlabelled texts for distillation of a teacher's scores."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from train.datasets.dedup import text_key
from train.datasets.splits import read_splits
from train.errors import SettingsFileError, TrainError
from train.settings import FitSettings

_TAG = re.compile(r"<[^<>]{1,40}>")
_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9])")
MIN_WORDS, MAX_WORDS = 4, 50


def sentences_of(texts: Iterable[str]) -> Iterator[str]:
    """Yield each sentence of 4 to 50 words once, in order, with single spaces, without mark-up (`<br />`)."""
    seen: set[str] = set()
    for text in texts:
        for sentence in _END.split(_TAG.sub(" ", text)):
            words = sentence.split()
            key = text_key(sentence)
            if MIN_WORDS <= len(words) <= MAX_WORDS and key not in seen:
                seen.add(key)
                yield " ".join(words)


def write_sentences(settings: FitSettings, root: str, name: str, out: Path) -> int:
    """Write the sentences of a run's training texts of one set, without held-out texts.

    Args:
        settings: Settings of the run, which define the held-out texts.
        root: Folder or URI of its files.
        name: Name of the set.
        out: Parquet file with the column `text`; it must not exist.

    Returns:
        Number of sentences.

    Raises:
        TrainError: The settings have no such set, the data do not match the settings, or the file exists.
    """
    import pyarrow as pa
    from pyarrow import parquet

    if name not in (known := [source.name for source in settings.data]):
        raise SettingsFileError(f"the settings have no training set {name!r}; they have {known}")
    if out.exists():
        raise TrainError(f"{out} exists; choose another --out, or remove it")
    sentences = list(sentences_of(example.text for example in read_splits(settings, root)[name].train))
    out.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table({"text": sentences}), out, compression="zstd")
    return len(sentences)
