"""Sentences out of reviews: the cuts, and who has to agree."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from train.data import Example, read_examples
from train.sentences import agreed_sentences, split_sentences, write_sentences


class WordModel:
    """Logits by a word of the sentence: `good` is surely label 1, `bad` surely 0, others are even."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def scores(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        self.asked += texts
        leaning = [3.0 * (("good" in text) - ("bad" in text)) for text in texts]
        return np.array([[-lean / 2, lean / 2] for lean in leaning], dtype=np.float32)


def test_sentences_end_at_stops_and_line_breaks() -> None:
    text = (
        'He said "it was a bore." Then he left!<br /><br />We stayed  for Mr Smith\'s song (all of it). No.'
    )

    found = list(split_sentences(text, min_words=2, max_words=9))

    assert found == ['He said "it was a bore.', "Then he left!", "We stayed for Mr Smith's song (all of it)."]


def test_a_sentence_stays_where_model_and_review_agree() -> None:
    reviews = [
        Example("The songs are all very good. The plot is really quite bad. It runs for two hours.", 1),
        Example("What a bad and boring plot! The plot is really quite bad. Oh no.", 0),
    ]
    model = WordModel()

    found = agreed_sentences(reviews, model, min_score=0.7)

    assert found == (
        Example("The songs are all very good.", 1),
        Example("What a bad and boring plot!", 0),
    )
    # The sentence that both reviews have, with other labels, tells nothing; the last one is too short.
    assert model.asked == [
        "The songs are all very good.",
        "It runs for two hours.",
        "What a bad and boring plot!",
    ]


def test_no_sentence_at_all() -> None:
    assert agreed_sentences([Example("Short.", 0)], WordModel(), min_score=0.7) == ()


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    sentences = (Example("The songs are all very good.", 1), Example("What a bad and boring plot!", 0))
    file = tmp_path / "new" / "sentences.parquet"

    write_sentences(sentences, ("NEGATIVE", "POSITIVE"), file)

    index = {"NEGATIVE": 0, "POSITIVE": 1}
    assert read_examples(file, text="text", label="label", label_index=index) == list(sentences)
