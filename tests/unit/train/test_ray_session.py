"""Tests that a temporary Ray session leaves the environment unchanged."""

from __future__ import annotations

import os

import pytest
import ray

from train.ray_session import ray_for_a_while


def test_the_environment_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = []
    monkeypatch.setattr(ray, "shutdown", lambda: ended.append(True))
    monkeypatch.setenv("RAY_ADDRESS", "mine")
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with ray_for_a_while():
        os.environ.update({"RAY_AUTH_MODE": "token", "RAY_ADDRESS": "another"})  # as ray.init does
    assert ended == [True]
    assert "RAY_AUTH_MODE" not in os.environ and os.environ["RAY_ADDRESS"] == "mine"
