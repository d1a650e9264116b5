"""Everyday sentences: valid labels, and no test sentence in the training file."""

import csv
import re
from collections import Counter
from pathlib import Path

FOLDER = Path(__file__).parents[3] / "train" / "everyday"
LABELS_OF_KIND = {
    "service_praise": {"POSITIVE"},
    "negated_fault": {"POSITIVE"},
    "better": {"POSITIVE"},
    "worse": {"NEGATIVE"},
    "dry_complaint": {"NEGATIVE"},
    "sarcasm": {"NEGATIVE"},
    "mixed": {"NEGATIVE", "POSITIVE"},
    "plain": {"NEGATIVE", "POSITIVE"},
    "neutral": {"NEUTRAL"},
}
SHARED_WORDS = 0.5
"""Minimum Jaccard index of the words of two sentences that count as close."""


def read(name: str) -> list[dict[str, str]]:
    """Return the rows of a file."""
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def words(text: str) -> list[str]:
    """Return the words of a text in lower case."""
    return re.findall(r"[a-z0-9']+", text.lower())


def test_labels_are_those_of_the_kind() -> None:
    rows = [*read("test.csv"), *read("train.csv")]
    assert [row for row in rows if row["label"] not in LABELS_OF_KIND.get(row["kind"], set())] == []


def test_every_sentence_occurs_once() -> None:
    texts = ["".join(words(row["text"])) for row in (*read("test.csv"), *read("train.csv"))]
    assert [text for text, count in Counter(texts).items() if count > 1] == []


def test_no_training_sentence_is_close_to_a_test_sentence() -> None:
    tests = [set(words(row["text"])) for row in read("test.csv")]
    of_word: dict[str, list[int]] = {}
    for number, own in enumerate(tests):
        for word in own:
            of_word.setdefault(word, []).append(number)
    close = []
    for row in read("train.csv"):
        own = set(words(row["text"]))
        shared = Counter(number for word in own for number in of_word.get(word, ()))
        if any(n / (len(own) + len(tests[number]) - n) >= SHARED_WORDS for number, n in shared.items()):
            close.append(row["text"])
    assert close == []


def test_the_readme_states_the_number_of_sentences() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    for name in ("test.csv", "train.csv"):
        rows = read(name)
        labels = Counter(row["label"] for row in rows)
        by_label = " / ".join(f"{labels[label]:,}" for label in ("NEGATIVE", "POSITIVE", "NEUTRAL"))
        assert f"| `{name}` | {len(rows):,} | {by_label} |" in readme
