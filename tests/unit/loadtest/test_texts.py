"""Tests of the texts of a load test: generated ones, and those of a file."""

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from loadtest.errors import TextsError
from loadtest.slo import percentile
from loadtest.synthetic_texts import LONGEST_WORDS, SHORTEST_WORDS, invent
from loadtest.texts import INVENTED_TEXTS, MAX_TEXTS, corpus

LINES = ["a lovely pump, really", "the lid broke, twice", "so soft"]


def words(text: str) -> int:
    return len(text.split())


def test_invented_texts_have_the_lengths_of_real_ones() -> None:
    lengths = sorted(words(text) for text in invent(4000, seed=1))
    # Real texts have 25 to 75 tokens at the median and 37 to 193 at the 90th percentile, by kind; see
    # loadtest/synthetic_texts.py, whose words have 1.3 tokens each.
    assert 25 <= percentile(lengths, 50, 4000) <= 29
    assert 100 <= percentile(lengths, 90, 4000) <= 116
    assert lengths[0] >= SHORTEST_WORDS and lengths[-1] == LONGEST_WORDS


def test_the_same_seed_invents_the_same_texts() -> None:
    assert invent(50, seed=3) == invent(50, seed=3)
    assert invent(50, seed=3) != invent(50, seed=4)


def test_invented_texts_are_nearly_all_different_so_that_a_cache_gains_nothing() -> None:
    texts = corpus(None, seed=1)
    assert len(texts) == INVENTED_TEXTS
    assert len(set(texts)) > 0.95 * INVENTED_TEXTS
    assert all(text == text.strip() and text[-1] in ".!" for text in texts)


def written(folder: Path, ending: str) -> Path:
    path = folder / f"texts{ending}"
    if ending == ".txt":
        path.write_text("\n".join(["", *LINES, "   "]) + "\n")
    elif ending == ".csv":
        path.write_text("rating,text\n" + "".join(f'5,"{line}"\n' for line in LINES))
    elif ending == ".jsonl":
        path.write_text("".join(json.dumps({"text": line, "label": 1}) + "\n" for line in LINES))
    else:
        pyarrow.parquet.write_table(pyarrow.table({"text": [*LINES, None], "label": [1, 0, 1, 0]}), path)
    return path


@pytest.mark.parametrize("ending", [".txt", ".csv", ".jsonl", ".parquet"])
def test_every_kind_of_file_gives_its_texts_without_the_blank_ones(ending: str, tmp_path: Path) -> None:
    assert sorted(corpus(written(tmp_path, ending), seed=1)) == sorted(LINES)


def test_a_large_file_is_drawn_from_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "sorted.txt"
    path.write_text("".join(f"{number:06}\n" for number in range(3 * MAX_TEXTS)))
    texts = corpus(path, seed=1)
    assert len(set(texts)) == MAX_TEXTS
    assert max(texts) > f"{2.9 * MAX_TEXTS:06.0f}"  # the first part of a sorted file would have one label
    assert texts == corpus(path, seed=1) != corpus(path, seed=2)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("texts.docx", b"x", "unknown suffix"),
        ("missing.txt", None, "No such file"),
        ("empty.txt", b"\n \n", "no texts"),
        (
            "other.csv",
            b"rating,review\n5,fine\n",
            "expected a string in the column 'text', got ['rating', 'review']",
        ),
        ("short.csv", b"rating,text\n5\n", "row 1"),
        ("broken.jsonl", b'{"text": "a"}\n{"text"\n', "Expecting"),
        ("list.jsonl", b"[1]\n", "line 1: expected a string in the column 'text', got list"),
        ("latin.txt", b"caf\xe9\n", "utf-8"),
        ("not.parquet", b"PAR?", "not.parquet"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(
    name: str, content: bytes | None, says: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TextsError) as caught:
        corpus(path, seed=1)
    assert says in str(caught.value) and name in str(caught.value)


def test_a_parquet_without_the_column_says_which_it_has(tmp_path: Path) -> None:
    path = tmp_path / "reviews.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"review": ["fine"]}), path)
    with pytest.raises(TextsError, match=r"no column 'text'; the columns are \['review'\]"):
        corpus(path, seed=1)
