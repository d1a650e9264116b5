"""Tests of the SLO verdict: percentiles by nearest rank, limits, and reasons."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.results import Observations
from loadtest.slo import SLO, evaluate_slo, percentile


def seen(latencies_ms: list[float], **changes: object) -> Observations:
    """Return a minute of one pod with correct answers at these latencies; `changes` override fields."""
    known: dict[str, object] = {
        "pods": 1,
        "window_s": 60.0,
        "sent": len(latencies_ms),
        "unsent": 0,
        "latencies_ms": tuple(sorted(latencies_ms)),
        "failures": {},
        "versions": {"1.0.0": len(latencies_ms)},
        "answered_in_window": len(latencies_ms),
        "tokens_in_window": 0,
        "lags_ms": tuple(0.1 for _ in latencies_ms),
    }
    return Observations(**{**known, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (95, 95), (99, 99), (100, 100), (1, 1)])
def test_a_percentile_is_the_value_at_the_nearest_rank(percent: int, expected: int) -> None:
    assert percentile(range(1, 101), percent, 100) == expected


def test_a_percentile_of_few_is_one_of_them_and_never_between() -> None:
    assert percentile([10.0, 20.0], 50, 2) == 10.0
    assert percentile([10.0, 20.0], 51, 2) == 20.0
    assert percentile([10.0], 99, 1) == 10.0
    assert math.isinf(percentile([], 50, 0))


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200), st.integers(1, 100))
def test_a_percentile_covers_its_share_and_no_smaller_value_does(values: list[float], percent: int) -> None:
    values.sort()
    value = percentile(values, percent, len(values))
    assert sum(other <= value for other in values) * 100 >= percent * len(values)
    assert sum(other < value for other in values) * 100 < percent * len(values)


def test_a_request_without_an_answer_ranks_behind_every_answer() -> None:
    assert percentile([1.0] * 95, 95, 100) == 1.0
    assert math.isinf(percentile([1.0] * 94, 95, 100))


def test_the_promise_kept() -> None:
    verdict = evaluate_slo(seen([50.0] * 570 + [500.0] * 30), SLO())
    assert verdict.passed and verdict.reasons == ()
    assert (verdict.latency.p50, verdict.latency.p95, verdict.latency.p99) == (50.0, 50.0, 500.0)


def test_the_limits_themselves_are_kept() -> None:
    assert evaluate_slo(seen([100.0] * 480), SLO()).passed


@pytest.mark.parametrize(
    ("observed", "broken", "reason"),
    [
        (seen([50.0] * 569 + [500.0] * 31), "p95 latency", "p95 is 500.0 ms"),
        (
            seen([50.0] * 600, answered_in_window=479),
            "right answers",
            "479.0 correct answers per minute per pod of 600.0",
        ),
        (seen([50.0] * 599, sent=600, failures={"HTTP 429": 1}), "failed", "1 of 600 requests"),
        (seen([50.0] * 1200, pods=2, answered_in_window=959), "right answers", "479.5 correct answers"),
        (seen([50.0] * 400, unsent=200), "right answers", "expected at least 480.0"),
    ],
)
def test_each_way_to_break_it_is_named(observed: Observations, broken: str, reason: str) -> None:
    verdict = evaluate_slo(observed, SLO())
    assert not verdict.passed
    assert [check.name for check in verdict.checks if not check.passed] == [broken]
    assert len(verdict.reasons) == 1 and reason in verdict.reasons[0]


def test_fast_refusals_do_not_mend_the_percentiles() -> None:
    verdict = evaluate_slo(seen([90.0] * 500, sent=600, failures={"HTTP 429": 100}), SLO(failed_fraction=0.5))
    assert math.isinf(verdict.latency.p95) and verdict.answered.p95 == 90.0
    assert not verdict.passed and "no p95" in verdict.reasons[0]


def test_a_window_without_requests_shows_nothing_and_fails() -> None:
    verdict = evaluate_slo(seen([]), SLO(failed_fraction=1.0))
    assert not verdict.passed and "no request was sent" in verdict.reasons[0]


def test_a_load_generator_that_was_late_itself_is_named() -> None:
    late = evaluate_slo(seen([150.0] * 600, lags_ms=tuple([60.0] * 600)), SLO())
    [warning] = late.warnings
    assert "load generator sent requests late (p95 60.0 ms)" in warning
    in_time = evaluate_slo(seen([50.0] * 600, lags_ms=tuple([11.0] * 600)), SLO())
    assert in_time.passed and len(in_time.warnings) == 1, "a warning changes no verdict"
    assert evaluate_slo(seen([150.0] * 600), SLO()).warnings == ()
