"""Tests of the probe that detects answers of mixed versions."""

from __future__ import annotations

import httpx

from examples.canary_rollout.consistency_probe import ConsistencyProbe

OLD, NEW = [0.9, 0.2], [0.7, 0.4]


def answer(version: str, scores: list[float], header: str | None = None) -> httpx.Response:
    results = [{"scores": {"A": 1 - score, "B": score}} for score in scores]
    body = {"model": {"version": version}, "results": results}
    return httpx.Response(200, json=body, headers={"x-model-version": header or version})


def witness(*answers: httpx.Response) -> ConsistencyProbe:
    seen = ConsistencyProbe()
    for each in answers:
        seen.take(each)
    return seen


def test_answers_of_one_version_each() -> None:
    rounded = [0.90004, 0.19996]
    seen = witness(answer("old", OLD), answer("new", NEW), answer("old", rounded), answer("new", NEW))
    assert (seen.answers, seen.mixed(), seen.tells_apart()) == (4, 0, True)


def test_an_answer_whose_texts_are_of_two_versions() -> None:
    seen = witness(answer("old", OLD), answer("new", NEW), answer("old", [OLD[0], NEW[1]]))
    assert seen.mixed() == 1


def test_an_answer_whose_header_names_another_version() -> None:
    assert witness(answer("old", OLD), answer("old", OLD, header="new")).mixed() == 1


def test_versions_with_the_same_scores_prove_nothing() -> None:
    assert not witness(answer("old", OLD), answer("new", OLD)).tells_apart()


def test_a_refusal_is_no_answer() -> None:
    seen = witness(httpx.Response(429))
    assert (seen.answers, seen.refused) == (0, [429])
