"""No text that is held out anywhere, nor one of a test set, is in any training part."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from train.errors import DataInvalid
from train.settings import DataSettings, FileSettings, FitSettings
from train.texts.examples import keys_of
from train.texts.sets import data_digest, read_splits, sample

NAMES = {"0": "NEGATIVE", "1": "POSITIVE"}


def write(folder: Path, name: str, texts: Sequence[str]) -> None:
    frame = pd.DataFrame({"text": texts, "label": [i % 2 for i in range(len(texts))]})
    frame.to_parquet(folder / f"{name}.parquet")


def settings(held_out: float = 0.3) -> FitSettings:
    def of(name: str) -> DataSettings:
        return DataSettings(
            name=name, file=f"{name}.parquet", label_names=NAMES, passes=1.0, held_out=held_out
        )

    return FitSettings(
        name="trial",
        version="1",
        base="nowhere",
        labels=("NEGATIVE", "POSITIVE"),
        data=(of("one"), of("two")),
        test=(FileSettings(name="exam", file="exam.parquet", label_names=NAMES),),
    )


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    write(tmp_path, "one", [f"Text {i}" for i in range(200)])
    write(tmp_path, "two", [f"text {i} !" for i in range(100, 300)])
    write(tmp_path, "exam", [f"TEXT {i}" for i in range(0, 300, 10)])
    return tmp_path


def test_nothing_leaks_between_sets(data_dir: Path) -> None:
    splits = read_splits(settings(), data_dir)

    trained = keys_of(splits["one"].train) | keys_of(splits["two"].train)
    held = keys_of(splits["one"].held_out) | keys_of(splits["two"].held_out)
    exam = {f"text{i}" for i in range(0, 300, 10)}
    assert trained and held
    assert not trained & held
    assert not trained & exam


def test_the_digest_follows_the_data(data_dir: Path) -> None:
    before = data_digest(read_splits(settings(), data_dir))

    assert data_digest(read_splits(settings(), data_dir)) == before
    assert data_digest(read_splits(settings(held_out=0.4), data_dir)) != before
    write(data_dir, "one", [f"Text {i}" for i in range(199)] + ["another text"])
    assert data_digest(read_splits(settings(), data_dir)) != before


def test_a_set_with_nothing_left_is_named(data_dir: Path) -> None:
    write(data_dir, "one", ["Text 10", "Text 20"])

    with pytest.raises(DataInvalid, match="'one' has no text left"):
        read_splits(settings(), data_dir)


def test_a_sample_takes_the_same_texts_of_each_class(data_dir: Path) -> None:
    examples = read_splits(settings(held_out=0.0), data_dir)["one"].train

    chosen = sample(examples, 20)

    assert [example.label for example in chosen] == [0] * 20 + [1] * 20
    assert sample(examples[::-1], 20) == chosen
