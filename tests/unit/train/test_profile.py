"""Tests of the reference profile: counts calculated by hand, a round trip, and refused files."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train.errors import DataError
from train.profile import (
    EMBEDDINGS,
    LENGTH_EDGES,
    PROFILE,
    Halves,
    ReferenceProfile,
    build_profile,
    length_histogram,
    read_profile,
    sample_places,
    score_histogram,
    write_profile,
)

LABELS = ("NEGATIVE", "POSITIVE")
UNKNOWN = 1


def built(texts: int = 4) -> tuple[ReferenceProfile, Halves]:
    """Build a profile of texts with 3, 4, 5, ... tokens, the first unknown; all POSITIVE with score 0.75."""
    token_ids = [[UNKNOWN, *range(10, 12 + i)] for i in range(texts)]
    logits = np.tile(np.array([0.0, 2 * np.log(3)], dtype=np.float32), (texts, 1))
    embeddings = np.arange(texts * 2, dtype=np.float32).reshape(texts, 2)
    truth = [0] + [1] * (texts - 1)
    return build_profile(
        token_ids, logits, embeddings, truth, labels=LABELS, temperature=2.0, unknown_token=UNKNOWN
    )


def test_the_counts_are_those_of_the_texts() -> None:
    profile, _ = built()

    assert profile.texts == 4
    assert profile.unknown_token_rate == pytest.approx(4 / (3 + 4 + 5 + 6))
    assert profile.true_shares == {"NEGATIVE": 0.25, "POSITIVE": 0.75}
    assert profile.predicted_shares == {"NEGATIVE": 0.0, "POSITIVE": 1.0}
    # softmax([0, 2 ln 3] / 2) = [1/4, 3/4]
    assert profile.mean_scores == pytest.approx({"NEGATIVE": 0.25, "POSITIVE": 0.75})
    assert profile.token_lengths.counts[:3] == (1, 2, 1)
    assert sum(profile.top_scores.counts[14:16]) == 4


def test_lengths_fall_below_the_upper_edge_and_nothing_is_lost() -> None:
    found = length_histogram(np.array([1, 4, 5, 6, 1023, 1024, 90_000]))

    assert found.edges == LENGTH_EDGES
    assert found.counts[:3] == (1, 2, 1)
    assert found.counts[-1] == 3


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1))
def test_every_score_is_counted(scores: list[float]) -> None:
    assert sum(score_histogram(np.array(scores)).counts) == len(scores)


def test_the_sample_depends_on_the_texts_and_not_on_their_order() -> None:
    token_ids = [[2, i, i * 7, 3] for i in range(50)]
    chosen = [token_ids[i] for i in sample_places(token_ids, 10)]

    turned = token_ids[::-1]
    assert [turned[i] for i in sample_places(turned, 10)] == chosen
    assert len(chosen) == 10


def test_the_sample_is_of_the_chosen_texts() -> None:
    token_ids = [[2, i, 3] for i in range(600)]
    embeddings = np.arange(600, dtype=np.float32).reshape(-1, 1)
    logits = np.zeros((600, 2), dtype=np.float32)

    profile, sample = build_profile(
        token_ids, logits, embeddings, [0] * 600, labels=LABELS, temperature=1.0, unknown_token=None
    )

    assert (profile.embeddings.texts, profile.embeddings.size) == (512, 1)
    assert sample[:, 0].tolist() == sample_places(token_ids)
    assert profile.unknown_token_rate == 0


def test_what_is_written_is_read(tmp_path: Path) -> None:
    profile, sample = built()

    assert write_profile(tmp_path, profile, sample) == PROFILE
    read, embeddings = read_profile(tmp_path)

    assert read == profile
    assert embeddings.dtype == np.float16
    assert embeddings.tolist() == sample.tolist()
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([PROFILE, EMBEDDINGS])


def test_embeddings_of_another_shape_are_not_written(tmp_path: Path) -> None:
    profile, sample = built()

    with pytest.raises(DataError, match=r"\(3, 2\); expected float16 \(4, 2\)"):
        write_profile(tmp_path, profile, sample[:3])


def test_activations_beyond_float16_are_told(tmp_path: Path) -> None:
    profile, sample = built()
    sample[0, 0] = np.inf

    with pytest.raises(DataError, match="not finite in float16"):
        write_profile(tmp_path, profile, sample)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("unknown_token_rate", 1.5, "less than or equal to 1"),
        ("texts", 5, "has 4 texts; expected 5"),
        ("mean_scores", {"NEGATIVE": 1.0}, "has the labels"),
        ("more", 1, "Extra inputs"),
    ],
)
def test_a_profile_that_was_changed_is_refused(
    tmp_path: Path, field: str, value: object, message: str
) -> None:
    write_profile(tmp_path, *built())
    document = json.loads((tmp_path / PROFILE).read_text())
    (tmp_path / PROFILE).write_text(json.dumps(document | {field: value}))

    with pytest.raises(DataError, match=message):
        read_profile(tmp_path)


def test_missing_or_broken_embeddings_are_refused(tmp_path: Path) -> None:
    write_profile(tmp_path, *built())
    (tmp_path / EMBEDDINGS).write_bytes(b"no safetensors")
    with pytest.raises(DataError, match="has no embeddings"):
        read_profile(tmp_path)
    (tmp_path / EMBEDDINGS).unlink()
    with pytest.raises(DataError, match="no reference profile"):
        read_profile(tmp_path)
