"""Reading, deduplication and the split: deterministic, and nothing held out is seen in training."""

import random
from pathlib import Path

import pandas as pd
import pytest

from train.errors import DataInvalid
from train.texts.examples import (
    Example,
    deduplicate,
    keys_of,
    read_examples,
    split_by_sentence,
    split_by_text,
    text_key,
    without,
    word_keys,
)

LABELS = {"0": 0, "1": 1}


def read(path: Path, **changes: object) -> list[Example]:
    options: dict[str, object] = {"text": "text", "label": "label", "label_index": LABELS}
    return read_examples(path, **(options | changes))  # type: ignore[arg-type]


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame({"text": ["good", "bad", "so so"], "label": [1, 0, 2]})


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_every_format_gives_the_same_examples(tmp_path: Path, frame: pd.DataFrame, suffix: str) -> None:
    path = tmp_path / f"set.{suffix}"
    {
        "csv": lambda: frame.to_csv(path, index=False),
        "jsonl": lambda: frame.to_json(path, orient="records", lines=True),
        "parquet": lambda: frame.to_parquet(path),
    }[suffix]()

    assert read(path, drop_labels=("2",)) == [Example("good", 1), Example("bad", 0)]


def test_other_columns_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "set.csv"
    pd.DataFrame({"review": ["fine"], "stars": ["five"]}).to_csv(path, index=False)

    assert read(path, text="review", label="stars", label_index={"five": 1}) == [Example("fine", 1)]


def test_bad_data_is_named_by_file_row_and_column(tmp_path: Path, frame: pd.DataFrame) -> None:
    path = tmp_path / "set.parquet"
    frame.to_parquet(path)
    with pytest.raises(DataInvalid, match=r"set\.parquet row 2 column 'label': label '2'"):
        read(path)
    with pytest.raises(DataInvalid, match="no column 'body'"):
        read(path, text="body")
    frame.loc[1, "text"] = "  "
    frame.to_parquet(path)
    with pytest.raises(DataInvalid, match=r"set\.parquet row 1 column 'text'"):
        read(path, drop_labels=("2",))


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 and no more")
    with pytest.raises(DataInvalid, match=r"broken\.parquet cannot be read"):
        read(broken)
    with pytest.raises(DataInvalid, match="does not exist"):
        read(tmp_path / "absent.csv")
    with pytest.raises(DataInvalid, match="suffix"):
        read(tmp_path / "set.xlsx")


def test_spellings_of_one_text_share_a_key() -> None:
    assert text_key("Don't  STOP!") == text_key("do n't stop .") == "dontstop"
    assert "".join(word_keys("It 's -- fine .")) == text_key("It 's -- fine .")


def test_deduplication_keeps_the_first_and_drops_contradictions() -> None:
    examples = [
        Example("Good film", 1),
        Example("good film !", 1),
        Example("odd", 0),
        Example("ODD", 1),
        Example("...", 0),
    ]

    assert deduplicate(examples) == (Example("Good film", 1),)


def test_the_split_depends_on_the_texts_alone() -> None:
    examples = [Example(f"text number {i}", i % 2) for i in range(2000)]
    split = split_by_text(examples, 0.2)
    shuffled = random.Random(5).sample(examples, len(examples))

    again = split_by_text(shuffled, 0.2)

    assert set(again.held_out) == set(split.held_out)
    assert not keys_of(split.train) & keys_of(split.held_out)
    assert len(split.train) + len(split.held_out) == len(examples)
    assert 0.17 < len(split.held_out) / len(examples) < 0.23


def test_phrases_leave_with_their_held_out_sentence() -> None:
    sentences = [f"scene {i} of this film is number {i} and fun" for i in range(300)]
    phrases = [f"film is number {i}" for i in range(300)]
    examples = [Example(text, 1) for text in [*phrases, *sentences, "fun", "and fun"]]

    split = split_by_sentence(examples, 0.25)

    held = [example.text for example in split.held_out]
    kept = {example.text for example in split.train}
    assert 40 < len(held) < 110
    assert set(held) <= set(sentences)
    for sentence in held:
        assert sentence.removeprefix("scene ").split()[0] not in {phrase.split()[-1] for phrase in kept}
    assert len(kept) == 2 * (300 - len(held)) + 2
    assert {"fun", "and fun"} <= kept


def test_without_compares_keys() -> None:
    assert without([Example("A b", 0), Example("c", 1)], {"ab"}) == (Example("c", 1),)
