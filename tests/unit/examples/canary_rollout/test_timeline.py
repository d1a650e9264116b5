"""Tests of the timeline: assignment of requests to a journal's stages, and the figures of each stage."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from examples.canary_rollout import report
from examples.canary_rollout.load import RequestSample
from examples.canary_rollout.timeline import p95_ms, rates, rows, stages
from tests.unit.cluster.rollout.test_cli import rolled

POINTS = [0.0, 1.0, 2.0, 3.0]


def sample(due_s: float, version: str = "old", failure: str | None = None, ms: float = 10) -> RequestSample:
    return RequestSample(due_s, due_s + ms / 1000, version, failure)


def test_the_stages_of_a_promotion_follow_each_other(tmp_path: Path) -> None:
    found = list(stages(rolled(tmp_path, "good").journal().entries(), 4))
    assert [stage.name for stage in found] == ["canary on 1 of 4", "canary on 2 of 4", "on all"]
    assert all(one.ended_s == other.began_s for one, other in itertools.pairwise(found))
    assert [stage.applied_s is not None for stage in found] == [True, True, False]


def test_two_rollouts_in_one_journal(tmp_path: Path) -> None:
    world = rolled(tmp_path, "stuck")
    entries = world.journal().entries()
    names = [stage.name for stage in stages([*entries, *entries], 4)]
    assert names == 2 * ["canary on 1 of 4", "rolled back"]


def test_a_row_counts_the_requests_that_were_due_in_its_stage(tmp_path: Path) -> None:
    entries = rolled(tmp_path, "stuck").journal().entries()
    began_s, applied_s, taken_s = (
        next(float(entry["at"]) for entry in entries if entry["event"] == event)
        for event in ("started", "applied", "rolling_back")
    )
    samples = [
        sample(began_s - 1),
        *(sample(applied_s + point) for point in POINTS),
        sample(applied_s + 4, "stuck", ms=50),
        sample(applied_s + 5, "stuck", "HTTP 500"),
        sample(taken_s, "stuck"),
    ]
    first, *_ = rows(entries, samples, 4, "stuck")
    assert dict(first.versions) == {"old": 4, "stuck": 1}
    assert dict(first.failures) == {"HTTP 500": 1}
    assert first.canary_share == pytest.approx(1 / 5)
    assert first.p95_ms == pytest.approx(50)
    [line] = [line for line in report.table({"bad": [first]}) if "canary on 1 of 4" in line]
    assert "old: 4, stuck: 1 | 20% | HTTP 500: 1 | 50 |" in line


def test_p95_is_by_nearest_rank_and_without_failures() -> None:
    assert p95_ms([sample(0, failure="timeout")]) is None
    times = [sample(0, ms=ms) for ms in range(1, 101)]
    assert p95_ms([*times, sample(0, failure="timeout", ms=9000)]) == pytest.approx(95)


def test_rates_are_by_version_and_step() -> None:
    samples = [*(sample(100 + point) for point in POINTS), sample(103.5, "new"), sample(101, "x", "HTTP 500")]
    times, series = rates(samples, 2.0)
    assert times == [1.0, 3.0]
    assert series == {"old": [1.0, 1.0], "new": [0.0, 0.5]}


def test_the_plot_is_a_png_of_modest_size(tmp_path: Path) -> None:
    entries = rolled(tmp_path / "journal", "good").journal().entries()
    found = list(stages(entries, 4))
    seconds = range(round(found[0].began_s), round(found[-1].ended_s))
    samples = [sample(at) for at in seconds]
    report.draw(tmp_path / "canary.png", samples, found)
    content = (tmp_path / "canary.png").read_bytes()
    assert content.startswith(b"\x89PNG") and len(content) < 150_000
