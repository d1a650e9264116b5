"""Tests of reading data sets: division and digest, and refusal of sets without training examples."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from train.datasets.dedup import text_key
from train.datasets.reading import read_examples
from train.datasets.splits import data_digest, divide_sets, keys_of, read_set, read_splits
from train.errors import DataError
from train.settings import DataSettings, FileSettings, FitSettings

NAMES = {"0": "NEGATIVE", "1": "POSITIVE"}


def write(folder: Path, name: str, texts: Sequence[str], labels: Sequence[int] | None = None) -> None:
    frame = pd.DataFrame({"text": texts, "label": labels or [i % 2 for i in range(len(texts))]})
    frame.to_parquet(folder / f"{name}.parquet")


def settings(held_out: float = 0.3, **changes: object) -> FitSettings:
    def of(name: str) -> DataSettings:
        return DataSettings(
            name=name, file=f"{name}.parquet", label_names=NAMES, passes=1.0, held_out=held_out
        )

    fields: dict[str, object] = {
        "name": "trial",
        "version": "1",
        "base": "nowhere",
        "labels": ("NEGATIVE", "POSITIVE"),
        "data": (of("one"), of("two")),
        "test": (FileSettings(name="exam", file="exam.parquet", label_names=NAMES),),
    }
    return FitSettings.model_validate(fields | changes)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    write(tmp_path, "one", [f"Text {i}" for i in range(200)])
    write(tmp_path, "two", [f"text {i} !" for i in range(100, 300)])
    write(tmp_path, "exam", [f"TEXT {i}" for i in range(0, 300, 10)])
    return tmp_path


def test_nothing_leaks_between_sets(data_dir: Path) -> None:
    splits = read_splits(settings(), str(data_dir))

    trained = {text_key(e.text) for split in splits.values() for e in split.train}
    held = {text_key(e.text) for split in splits.values() for e in split.held_out}
    exam = {f"text{i}" for i in range(0, 300, 10)}
    assert trained and held
    assert not trained & held
    assert not trained & exam


def test_a_validation_set_is_held_out_as_a_whole(data_dir: Path) -> None:
    write(data_dir, "apart", [f"text {i}" for i in range(50)])
    apart = FileSettings(name="apart", file="apart.parquet", label_names=NAMES)

    splits = read_splits(settings(held_out=0.0, validation=(apart,)), str(data_dir))

    assert not splits["apart"].train
    assert len(splits["apart"].held_out) == 50
    assert not {text_key(e.text) for e in splits["one"].train} & {f"text{i}" for i in range(50)}


def digest(of: FitSettings, data_dir: Path) -> str:
    sets = {s.name: keys_of(read_examples(str(data_dir), s, of.labels)) for s in of.data}
    return data_digest(sets, divide_sets(of, sets, [], {}))


def test_the_digest_follows_the_data(data_dir: Path) -> None:
    before = digest(settings(), data_dir)

    assert digest(settings(held_out=0.4), data_dir) != before
    write(data_dir, "one", [f"Text {i}" for i in range(199)] + ["another text"])
    assert digest(settings(), data_dir) != before
    order = [*range(1, 200), 0]
    write(data_dir, "one", [f"Text {i}" for i in order], [i % 2 for i in order])
    assert digest(settings(), data_dir) == before


def test_a_set_with_nothing_left_is_named(data_dir: Path) -> None:
    write(data_dir, "one", ["Text 10", "Text 20"])

    with pytest.raises(DataError, match="'one' has no text left"):
        read_splits(settings(), str(data_dir))


def test_one_label_alone_is_refused(data_dir: Path) -> None:
    write(data_dir, "one", [f"Text {i}" for i in range(200)], [1] * 200)
    write(data_dir, "two", [f"words {i}" for i in range(200)], [1] * 200)

    with pytest.raises(DataError, match="has the label 'POSITIVE'"):
        read_splits(settings(), str(data_dir))


def test_a_test_set_counts_each_text_once(data_dir: Path) -> None:
    write(data_dir, "exam", ["Fine", "fine!", "odd", "ODD"], [1, 1, 0, 1])

    [example] = read_set(settings().test[0], ("NEGATIVE", "POSITIVE"), str(data_dir))

    assert text_key(example.text) == "fine"
