"""Tests of the availability measures that are computed from recorded requests around a fault."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from benchmarks.chaos.availability import failures, longest_gap_s, slow_limit_s, time_to_normal_s
from benchmarks.chaos.traffic import RecordedRequest

FAULT_S, END_S = 10.0, 30.0


def requests(*faults: tuple[float, float, str, float]) -> list[RecordedRequest]:
    """Return ten requests per second over 30 s, answered in 20 ms except for (from, to, outcome, latency)."""
    made = []
    for number in range(300):
        due = number / 10
        outcome, latency = "200", 0.02
        for start, end, other, seconds in faults:
            if start <= due < end:
                outcome, latency = other, seconds
        made.append(RecordedRequest(due, due, due + latency, outcome))
    return made


def normal_s(of: Sequence[RecordedRequest]) -> float:
    return time_to_normal_s(of, FAULT_S, END_S, slow_limit_s(requests()))


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ([], 0),
        ([(10, 12, "503", 0.01)], 1.9),
        ([(10, 12, "200", 5.0)], 1.9),
        ([(9.95, 10.05, "503", 0.01)], 0),
        # Failures begin later than the fault: the service is not normal before their end.
        ([(18, 20, "ConnectionResetError", 0.01)], 9.9),
        # The service is normal for less than STEADY_S in between.
        ([(10, 12, "200", 5.0), (14, 15, "200", 5.0)], 4.9),
        # One slow response later, as a shared machine causes it.
        ([(10, 12, "503", 0.01), (25, 25.05, "200", 1.0)], 1.9),
        ([(10, 28, "503", 0.01)], math.inf),
        ([(10, 31, "503", 0.01)], math.inf),
    ],
)
def test_time_to_normal(faults: list[tuple[float, float, str, float]], expected: float) -> None:
    assert normal_s(requests(*faults)) == pytest.approx(expected)


def test_a_request_in_flight_at_the_fault_that_fails_is_not_normal() -> None:
    made = requests((9.85, 9.95, "ConnectionResetError", 0.5))
    assert failures(made) == {"ConnectionResetError": 1}
    assert normal_s(made) == 0  # the failed request was due before the fault


def test_the_longest_gap_counts_answers_alone_and_both_ends() -> None:
    assert longest_gap_s(requests(), FAULT_S, END_S) == pytest.approx(0.1)
    assert longest_gap_s(requests((12, 14, "503", 0.01)), FAULT_S, END_S) == pytest.approx(2.1)
    assert longest_gap_s(requests((10, 31, "503", 0.01)), FAULT_S, END_S) == pytest.approx(20)
    assert longest_gap_s(requests((25, 31, "503", 0.01)), FAULT_S, END_S) == pytest.approx(5.08)


def test_an_open_request_is_a_failure_unless_its_outcome_is_allowed() -> None:
    made = [RecordedRequest(0, 0), RecordedRequest(0, 0, 1, "429"), RecordedRequest(0, 0, 1, "200")]
    assert failures(made) == {"unanswered": 1, "429": 1}
    assert failures(made, allowed=("200", "429")) == {"unanswered": 1}
