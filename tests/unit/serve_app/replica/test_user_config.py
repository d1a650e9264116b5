"""Tests of the assignment of models to replica ranks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from serve_app.replica.user_config import ReplicaAssignment, UserConfig, assign


def config(canary: dict[str, Any] | None = None) -> UserConfig:
    return UserConfig.model_validate({"champion": "old", "canary": canary})


def test_both_spellings_of_the_champion() -> None:
    assert UserConfig.model_validate({"champion": {"model": "old"}}) == config()


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"champion": ""},
        {"champion": "old", "canry": None},
        {"champion": {"model": "old", "replicas": 1}},
        {"champion": "old", "canary": {"model": "new", "replicas": 0}},
        {"champion": "old", "canary": {"model": "new", "share": 0.5}},
    ],
)
def test_what_is_not_understood_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        UserConfig.model_validate(wrong)


def test_without_a_canary_every_rank_serves_the_champion() -> None:
    assert assign(config(), 3) == ReplicaAssignment("old", "champion", None, "old", None, 3)


def test_a_shadow_answers_with_the_champion() -> None:
    shadow = config({"model": "new", "shadow": True})
    assert assign(shadow, 0) == ReplicaAssignment("old", "shadow", "new", "old", "new", 0)
    assert assign(shadow, 1) == ReplicaAssignment("old", "champion", None, "old", "new", 1)


@given(pods=st.integers(1, 50), replicas=st.integers(1, 50))
def test_exactly_so_many_pods_are_the_canarys_whatever_the_scale(pods: int, replicas: int) -> None:
    trial = config({"model": "new", "replicas": replicas})
    answers = [assign(trial, rank).model for rank in range(pods)]
    assert answers.count("new") == min(pods, replicas)
    assert answers.count("old") == pods - min(pods, replicas)
