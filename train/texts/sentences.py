"""The sentences of what a set trains on: texts without a label, to learn a teacher's scores of."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from train.errors import SettingsInvalid, TrainError
from train.settings import FitSettings
from train.texts.keys import text_key
from train.texts.sets import read_splits

_TAG = re.compile(r"<[^<>]{1,40}>")
_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9])")
MIN_WORDS, MAX_WORDS = 4, 50


def sentences_of(texts: Iterable[str]) -> Iterator[str]:
    """Each sentence of 4 to 50 words once, in order, its spaces single and mark-up like `<br />` left out."""
    seen: set[str] = set()
    for text in texts:
        for sentence in _END.split(_TAG.sub(" ", text)):
            words = sentence.split()
            key = text_key(sentence)
            if MIN_WORDS <= len(words) <= MAX_WORDS and key not in seen:
                seen.add(key)
                yield " ".join(words)


def write_sentences(settings: FitSettings, root: str, name: str, out: Path) -> int:
    """Write the sentences of what a run trains on of one set; nothing that is held out is among them.

    Args:
        settings: Of the run, which say what is held out.
        root: Folder or address of its files.
        name: Of the set.
        out: A Parquet file that must not exist; gets the column `text`.

    Returns:
        How many sentences there are.

    Raises:
        TrainError: The settings have no such set, the data are not what they say, or the file exists.
    """
    import pyarrow as pa
    from pyarrow import parquet

    if name not in (known := [source.name for source in settings.data]):
        raise SettingsInvalid(f"the settings have no set {name!r} to train on; they have {known}")
    if out.exists():
        raise TrainError(f"{out} exists; choose another --out, or remove it")
    found = list(sentences_of(example.text for example in read_splits(settings, root)[name].train))
    out.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table({"text": found}), out, compression="zstd")
    return len(found)
