"""Record of all requests of a run, sent or answered, until the window is evaluated."""

from array import array
from collections.abc import Callable

from loadtest.results import MeasurementWindow, Observations, Sample, observe

MAX_REQUESTS = 1_000_000
"""Maximum number of recorded requests, which bounds the memory: 28 hours at 600 per minute.

The window ends when the log is full.
"""


class RequestLog:
    """Requests sent and finished in one run, with times in seconds of the clock that the caller uses.

    Args:
        max_requests: Maximum number of requests.
        record: Called with each request when it finishes.
    """

    def __init__(
        self, max_requests: int = MAX_REQUESTS, record: Callable[[Sample], None] = lambda sample: None
    ) -> None:
        self._max_requests = max_requests
        self._record = record
        self._due_s = array("d")
        self._unsent_due_s = array("d")
        self._samples: list[Sample] = []
        self._start_s: float | None = None
        self._end_s: float | None = None
        self._pods = 0

    def open(self, start_s: float, pods: int) -> None:
        """Measure from `start_s` on, with the load of `pods` pods; called again when the load changes."""
        self._start_s = start_s
        self._pods = pods

    @property
    def start_s(self) -> float | None:
        """Return the start of the window; None before it was opened."""
        return self._start_s

    def close(self, end_s: float) -> None:
        """End the window at `end_s`; only the first call has an effect."""
        if self._end_s is None:
            self._end_s = end_s

    def sent(self, due_s: float) -> None:
        """Record that the request due at `due_s` is being sent."""
        if len(self._due_s) >= self._max_requests:
            self.close(due_s)
        if self._end_s is None or due_s < self._end_s:
            self._due_s.append(due_s)

    def unsent(self, due_s: float) -> None:
        """Record that the request due at `due_s` was not sent before its user stopped."""
        self._unsent_due_s.append(due_s)

    def finished(self, sample: Sample) -> None:
        """Record a finished request, correct or failed."""
        if self._end_s is None or sample.due_s < self._end_s:
            self._samples.append(sample)
            self._record(sample)

    def counts(self) -> tuple[int, int, int]:
        """Return requests sent, waiting for an answer, and failed, since the run began (with warm-up)."""
        failed = sum(sample.answer.failure is not None for sample in self._samples)
        return len(self._due_s), len(self._due_s) - len(self._samples), failed

    def observations(self) -> Observations | None:
        """Return the observations of the window, or None if it never opened or ended before it began."""
        if self._start_s is None or self._end_s is None or self._end_s <= self._start_s:
            return None
        window = MeasurementWindow(self._start_s, self._end_s, self._pods)
        return observe(self._due_s, self._samples, window, self._unsent_due_s)
