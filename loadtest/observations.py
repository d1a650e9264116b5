"""What was seen in the measured window: raw samples in, the figures a verdict needs out."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from loadtest.answers import Answer

UNFINISHED = "no answer when the test ended"


@dataclass(frozen=True, slots=True)
class Sample:
    """One finished request; times in seconds of one monotonic clock.

    Attributes:
        due_s: When the schedule wanted it sent.
        sent_s: When it was sent; later than `due_s` only as far as the load generator itself was late.
        done_s: When its answer was complete, or its failure known.
        answer: What came back.
    """

    due_s: float
    sent_s: float
    done_s: float
    answer: Answer


@dataclass(frozen=True, slots=True)
class Window:
    """The measured time: what was due from `start_s` to before `end_s`, offered to `pods` pods."""

    start_s: float
    end_s: float
    pods: int


@dataclass(frozen=True, slots=True)
class Observations:
    """The measured window in figures.

    Attributes:
        pods: Pods the load was meant for, 1 or more.
        window_s: Length of the window.
        sent: Requests due in the window and sent.
        unsent: Requests due in the window that the load generator never sent.
        latencies_ms: From the due time to the whole answer, of every right answer to those, rising.
        failures: Requests of the window that got no right answer, by kind.
        versions: Right answers by model version.
        answered_in_window: Right answers that arrived within the window, whenever they were due. The
            achieved rate is made of these: a service that falls behind answers the rest later, and that must
            not count.
        tokens_in_window: Tokens in those answers.
        lags_ms: How late the load generator itself sent each request, rising.
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
        """Requests of the window that got no right answer."""
        return sum(self.failures.values())

    @property
    def saturated(self) -> bool:
        """Whether the load generator fell behind its schedule, beyond a last request of each pod."""
        return self.unsent > max(self.pods, self.sent // 100)


def observe(
    due_s: Iterable[float], samples: Iterable[Sample], window: Window, unsent_due_s: Iterable[float] = ()
) -> Observations:
    """Reduce a run to its window.

    Args:
        due_s: The due time of every request that was sent, finished or not; same clock as the samples.
        samples: Every finished request.
        window: Which of them count.
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
