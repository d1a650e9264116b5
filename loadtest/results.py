"""Observations in the measured window: the figures for a verdict, computed from raw samples."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from loadtest.response_check import ResponseCheck

UNFINISHED = "no answer when the test ended"


@dataclass(frozen=True, slots=True)
class Sample:
    """One finished request, with times in seconds of one monotonic clock.

    Attributes:
        due_s: Scheduled time.
        sent_s: Time at which it was sent; later than `due_s` only if the load generator itself was late.
        done_s: Time at which its answer was complete, or its failure was known.
        answer: Outcome of the request.
    """

    due_s: float
    sent_s: float
    done_s: float
    answer: ResponseCheck


@dataclass(frozen=True, slots=True)
class MeasurementWindow:
    """Measured time: requests due from `start_s` to before `end_s`, offered to `pods` pods."""

    start_s: float
    end_s: float
    pods: int


@dataclass(frozen=True, slots=True)
class Observations:
    """Figures of the measured window.

    Attributes:
        pods: Number of pods that the load was meant for, 1 or more.
        window_s: Length of the window.
        sent: Requests due in the window and sent.
        unsent: Requests due in the window that the load generator never sent.
        latencies_ms: Time from the due time to the entire answer, of every correct answer to those,
            ascending.
        failures: Requests of the window without a correct answer, by kind.
        versions: Correct answers by model version.
        answered_in_window: Correct answers that arrived within the window, regardless of when they were due.
            The achieved rate is computed from these: a service that falls behind answers the rest later, and
            that must not count.
        tokens_in_window: Tokens in those answers.
        lags_ms: Delay of the load generator itself in sending each request, ascending.
    """

    pods: int
    window_s: float
    sent: int
    unsent: int
    latencies_ms: tuple[float, ...]
    failures: Mapping[str, int]
    versions: Mapping[str, int]
    answered_in_window: int
    tokens_in_window: int
    lags_ms: tuple[float, ...]

    @property
    def failed(self) -> int:
        """Return the number of requests of the window without a correct answer."""
        return sum(self.failures.values())

    @property
    def saturated(self) -> bool:
        """Return whether the load generator fell behind its schedule, beyond a last request of each pod."""
        return self.unsent > max(self.pods, self.sent // 100)


def observe(
    due_s: Iterable[float],
    samples: Iterable[Sample],
    window: MeasurementWindow,
    unsent_due_s: Iterable[float] = (),
) -> Observations:
    """Reduce a run to its window.

    Args:
        due_s: The due time of every request that was sent, finished or not; same clock as the samples.
        samples: Every finished request.
        window: Window that selects the requests.
        unsent_due_s: The due time of every request that was not sent when its user stopped.
    """
    samples = list(samples)
    sent = sum(window.start_s <= due < window.end_s for due in due_s)
    counted = [sample for sample in samples if window.start_s <= sample.due_s < window.end_s]
    right = [sample for sample in counted if sample.answer.failure is None]
    failures = Counter(sample.answer.failure for sample in counted if sample.answer.failure is not None)
    if sent > len(counted):
        failures[UNFINISHED] = sent - len(counted)
    arrived = [
        sample.answer
        for sample in samples
        if sample.answer.failure is None and window.start_s <= sample.done_s < window.end_s
    ]
    return Observations(
        pods=window.pods,
        window_s=window.end_s - window.start_s,
        sent=sent,
        unsent=sum(window.start_s <= due < window.end_s for due in unsent_due_s),
        latencies_ms=tuple(sorted((sample.done_s - sample.due_s) * 1000 for sample in right)),
        failures=dict(failures.most_common()),
        versions=dict(Counter(sample.answer.version for sample in right).most_common()),
        answered_in_window=len(arrived),
        tokens_in_window=sum(answer.tokens for answer in arrived),
        lags_ms=tuple(sorted((sample.sent_s - sample.due_s) * 1000 for sample in counted)),
    )
