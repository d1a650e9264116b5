"""Keeps every request of a run, sent or answered, until the window is judged."""

from array import array
from collections.abc import Callable

from loadtest.observations import Observations, Sample, Window, observe

MOST_REQUESTS = 1_000_000
"""Requests kept: 28 hours at 600 a minute. The window ends where the ledger is full: memory is bounded."""


class Ledger:
    """Requests sent and finished in one run; times in seconds of the clock the caller uses throughout.

    Args:
        most: Requests kept.
        record: Is told each request as it finishes.
    """

    def __init__(
        self, most: int = MOST_REQUESTS, record: Callable[[Sample], None] = lambda sample: None
    ) -> None:
        self._most = most
        self._record = record
        self._due_s = array("d")
        self._unsent_due_s = array("d")
        self._samples: list[Sample] = []
        self._start_s: float | None = None
        self._end_s: float | None = None
        self._pods = 0

    def open(self, start_s: float, pods: int) -> None:
        """Measure from `start_s` on, with `pods` pods' load; called again when the load changes."""
        self._start_s = start_s
        self._pods = pods

    @property
    def start_s(self) -> float | None:
        """Where the window starts; None until it was opened."""
        return self._start_s

    def close(self, end_s: float) -> None:
        """End the window at `end_s`; the first call counts."""
        if self._end_s is None:
            self._end_s = end_s

    def sent(self, due_s: float) -> None:
        """Note that the request due at `due_s` is being sent."""
        if len(self._due_s) >= self._most:
            self.close(due_s)
        if self._end_s is None or due_s < self._end_s:
            self._due_s.append(due_s)

    def unsent(self, due_s: float) -> None:
        """Note that the request due at `due_s` was not sent before its user stopped."""
        self._unsent_due_s.append(due_s)

    def finished(self, sample: Sample) -> None:
        """Note a finished request, right or failed."""
        if self._end_s is None or sample.due_s < self._end_s:
            self._samples.append(sample)
            self._record(sample)

    def counts(self) -> tuple[int, int, int]:
        """Return requests sent, waiting for an answer, and failed, since the run began (warm-up included)."""
        failed = sum(sample.answer.failure is not None for sample in self._samples)
        return len(self._due_s), len(self._due_s) - len(self._samples), failed

    def observations(self) -> Observations | None:
        """Return what the window saw, or None when it never opened or ended before it began."""
        if self._start_s is None or self._end_s is None or self._end_s <= self._start_s:
            return None
        window = Window(self._start_s, self._end_s, self._pods)
        return observe(self._due_s, self._samples, window, self._unsent_due_s)
