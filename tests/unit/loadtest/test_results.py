"""Tests of the observations of a load test: latency, rates, failures, and the measurement window."""

from loadtest.request_log import RequestLog
from loadtest.response_check import ResponseCheck
from loadtest.results import UNFINISHED, MeasurementWindow, Sample, observe

RIGHT = ResponseCheck(None, "1.0.0", tokens=5)


def sample(due_s: float, took_s: float, answer: ResponseCheck = RIGHT, late_s: float = 0.0) -> Sample:
    return Sample(due_s, due_s + late_s, due_s + took_s, answer)


def test_latency_counts_from_the_due_time_so_that_a_late_sender_hides_nothing() -> None:
    seen = observe([10.0], [sample(10.0, took_s=0.75, late_s=0.5)], MeasurementWindow(10, 70, 1))
    assert seen.latencies_ms == (750.0,)
    assert seen.lags_ms == (500.0,)


def test_only_what_was_due_in_the_window_counts() -> None:
    due = [9.99, 10.0, 69.99, 70.0]
    seen = observe(due, [sample(time, 0.1) for time in due], MeasurementWindow(10, 70, 1))
    assert seen.sent == len(seen.latencies_ms) == 2
    assert seen.window_s == 60


def test_the_achieved_rate_is_made_of_answers_that_arrived_in_the_window() -> None:
    # Responses: a late one to a warm-up request, one in time, and one after the end of the window.
    samples = [sample(9.0, 2.0), sample(20.0, 0.1), sample(69.0, 5.0)]
    seen = observe([9.0, 20.0, 69.0], samples, MeasurementWindow(10, 70, 1))
    assert seen.sent == 2 and seen.answered_in_window == 2 and seen.tokens_in_window == 10


def test_failures_are_counted_by_kind_and_versions_by_right_answers() -> None:
    answers = [
        RIGHT,
        ResponseCheck(None, "1.1.0"),
        ResponseCheck("HTTP 429"),
        ResponseCheck("timeout"),
        ResponseCheck("HTTP 429"),
    ]
    due = [10.0 + number for number in range(6)]  # the sixth response never arrived
    seen = observe(
        due, [sample(t, 0.1, a) for t, a in zip(due, answers, strict=False)], MeasurementWindow(10, 70, 1)
    )
    assert seen.failures == {"HTTP 429": 2, "timeout": 1, UNFINISHED: 1}
    assert seen.failed == 4 and len(seen.latencies_ms) == 2
    assert seen.versions == {"1.0.0": 1, "1.1.0": 1}


def test_a_stall_reaches_every_request_that_was_due_while_it_lasted() -> None:
    # Ten requests per second for ten seconds, without a response between 5 s and 6 s.
    due = [number / 10 for number in range(100)]
    samples = [sample(t, took_s=max(0.001, 6 - t if 5 <= t < 6 else 0)) for t in due]
    seen = observe(due, samples, MeasurementWindow(0, 10, 1))
    assert sum(latency > 50 for latency in seen.latencies_ms) == 10


def test_a_log_that_never_opened_saw_nothing() -> None:
    request_log = RequestLog()
    request_log.sent(1.0)
    request_log.close(2.0)
    assert request_log.observations() is None


def test_a_test_that_ended_in_its_warm_up_saw_nothing() -> None:
    request_log = RequestLog()
    request_log.open(10.0, pods=1)
    request_log.close(9.0)
    assert request_log.observations() is None


def test_a_change_of_load_begins_the_window_anew() -> None:
    request_log = RequestLog()
    request_log.open(10.0, pods=1)
    for due_s in (11.0, 21.0):
        request_log.sent(due_s)
        request_log.finished(sample(due_s, 0.1))
    request_log.open(20.0, pods=4)
    request_log.close(30.0)
    seen = request_log.observations()
    assert seen is not None and (seen.sent, seen.pods, seen.window_s) == (1, 4, 10.0)


def test_what_waits_and_what_failed_can_be_watched() -> None:
    request_log = RequestLog()
    for due_s in (1.0, 2.0, 3.0):
        request_log.sent(due_s)
    request_log.finished(sample(1.0, 0.1))
    request_log.finished(sample(2.0, 0.1, ResponseCheck("timeout")))
    assert request_log.counts() == (3, 1, 1)


def test_a_full_log_ends_the_window_where_it_is_full() -> None:
    request_log = RequestLog(max_requests=3)
    request_log.open(0.0, pods=1)
    for due_s in (1.0, 2.0, 3.0, 4.0, 5.0):
        request_log.sent(due_s)
        request_log.finished(sample(due_s, 0.1))
    request_log.close(60.0)
    seen = request_log.observations()
    assert seen is not None and (seen.sent, seen.window_s, seen.failures) == (3, 4.0, {})
    assert request_log.counts() == (3, 0, 0)
