"""Tests of the sampling schedule: configured frequency of each set, balance, even spread, fixed by a seed."""

from collections import Counter

import numpy as np
import pytest

from train.datasets.sampler import TrainPart, cut, schedule
from train.settings import CropSettings, DataSettings

NAMES = {"0": "NEGATIVE", "1": "POSITIVE"}


def of_set(**changes: object) -> DataSettings:
    fields = {"name": "a", "file": "a.csv", "label_names": NAMES, "passes": 1.0}
    return DataSettings.model_validate(fields | changes)


def part_of(labels: list[int], words: list[int]) -> TrainPart:
    return TrainPart(np.array(labels, dtype=np.int16), np.array(words, dtype=np.int32))


PART = part_of([0] * 20 + [1] * 80, [2] * 100)


def test_whole_passes_show_every_text_equally_often() -> None:
    draws = schedule([PART], [of_set(passes=3.0)], seed=1).draws()

    assert set(Counter(draw.index for draw in draws).values()) == {3}
    assert sorted(draw.index for draw in draws[:100]) == list(range(100))


def test_part_of_a_pass_shows_no_text_twice() -> None:
    draws = schedule([PART], [of_set(passes=0.5)], seed=1).draws()

    assert len({draw.index for draw in draws}) == len(draws) == 50


def test_balanced_classes_are_drawn_alike() -> None:
    draws = schedule([PART], [of_set(passes=4.0, balance=True)], seed=1).draws()

    counts = Counter(draw.index for draw in draws)
    assert len(draws) == 160
    assert sum(count for index, count in counts.items() if index < 20) == 80
    assert all(counts[index] == 4 for index in range(20))
    assert all(counts[index] == 1 for index in range(20, 100))


def test_long_texts_are_shown_more_often() -> None:
    part = part_of([0, 1], [1, 5])

    draws = schedule([part], [of_set(passes=2.0, long_words=3, long_passes=3.0)], seed=1).draws()

    assert Counter(draw.index for draw in draws) == {0: 2, 1: 5}


def test_sets_are_spread_over_the_whole_run() -> None:
    draws = schedule(
        [PART, part_of([0] * 20 + [1] * 5, [2] * 25)], [of_set(), of_set(name="b")], seed=1
    ).draws()

    per_quarter = [
        sum(draw.source for draw in draws[begin : begin + 31]) for begin in range(0, len(draws) - 31, 31)
    ]
    assert all(4 <= count <= 9 for count in per_quarter)


def test_a_seed_decides_everything() -> None:
    crops = (CropSettings(tokens=16, share=0.5), CropSettings(tokens=32, share=0.5))
    sets = [of_set(passes=2.0, crops=crops)]

    first, again, other = (schedule([PART], sets, seed=seed).draws() for seed in (7, 7, 8))

    assert first == again
    assert first != other
    assert {draw.max_tokens for draw in first} == {16, 32}


def test_a_stretch_is_part_of_the_whole() -> None:
    whole = schedule([PART], [of_set(passes=2.0)], seed=1)

    assert whole.draws(30, 70) == whole.draws()[30:70]
    assert len(whole) == 200


@pytest.mark.parametrize("start", [0.0, 0.3, 0.999999])
def test_a_cut_keeps_the_special_tokens_and_stays_inside(start: float) -> None:
    ids = [101, *range(1000, 1020), 102]

    window = cut(ids, 8, start)

    assert (window[0], window[-1], len(window)) == (101, 102, 8)
    assert window[1:-1] == list(range(window[1], window[1] + 6))
    assert start or window[1] == 1000
    assert cut(ids, 22, start) == cut(ids, 500, start) == ids
