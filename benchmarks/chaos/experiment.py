"""Experiment with one fault under traffic: traffic before, during and after it, and the measures."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

from benchmarks.chaos.availability import (
    STEADY_S,
    failures,
    longest_gap_s,
    p99_s,
    slow_limit_s,
    time_to_normal_s,
)
from benchmarks.chaos.bounds import RATE_PER_S
from benchmarks.chaos.prediction_log import FLUSH_S, PredictionLog
from benchmarks.chaos.processes import wait_until
from benchmarks.chaos.service import ServiceProcess
from benchmarks.chaos.traffic import OK, RecordedRequest, RequestStream
from benchmarks.chaos.verdict import ScenarioResult

BEFORE_S = 5.0
"""Seconds of traffic before a fault."""
AFTER_S = STEADY_S + 2.0
"""Seconds of traffic after the last action or wait of a scenario."""

SMALL_TEXTS = (
    "I love this cream",
    "It ruined my skin",
    "What a lovely film",
    "The zipper broke after a week",
    "fine for the price",
    "never again",
    "my mother is happy with it",
    "the delivery was late and the box was open",
)


class Experiment:
    """Fault on a service under traffic.

    Args:
        service: service that has the fault.
        traffic: traffic during the fault.
        result: result that receives the measures.
    """

    def __init__(self, service: ServiceProcess, traffic: RequestStream, result: ScenarioResult) -> None:
        self.service, self.traffic, self.result = service, traffic, result
        self._log = PredictionLog(str(service.log))
        self.fault_at = self.ended_at = time.monotonic()

    def fault(self) -> None:
        """Record that the fault begins now."""
        self.fault_at = time.monotonic()

    def observe(self, seconds: float) -> None:
        """Continue the traffic for `seconds`."""
        time.sleep(seconds)

    def wait_until_whole(self, timeout_s: float, *, also: Callable[[], bool] = lambda: True) -> None:
        """Wait until the service is complete and `also` holds; the time from the fault is a measure."""
        waited_s = wait_until(lambda: also() and self.service.is_whole(), timeout_s, poll_s=0.25)
        whole = waited_s < float("inf")
        self.result.measures["whole_s"] = time.monotonic() - self.fault_at if whole else waited_s

    @property
    def before(self) -> list[RecordedRequest]:
        """Return the requests that were due before the fault."""
        return [request for request in self.traffic.requests if request.due < self.fault_at]

    def between(self, start: float, end: float) -> list[RecordedRequest]:
        """Return the requests that were due in a time span."""
        return [request for request in self.traffic.requests if start <= request.due < end]

    def measure(
        self, *, allowed: Collection[str] = (OK,), beside: Sequence[RecordedRequest] = ()
    ) -> list[RecordedRequest]:
        """Store the measures that every scenario has, and return the requests whose rows the log has lost.

        Args:
            allowed: outcomes that are not failures.
            beside: requests of additional streams.
        """
        requests, result = [*self.traffic.requests, *beside], self.result
        result.sent = len(requests)
        result.failures = failures(requests, allowed=allowed)
        result.measures["failed"] = result.failures.total()
        result.measures["gap_s"] = longest_gap_s(self.traffic.requests, self.fault_at, self.ended_at)
        result.measures["normal_s"] = time_to_normal_s(
            self.traffic.requests, self.fault_at, self.ended_at, slow_limit_s(self.before)
        )
        lost = self._log.lost(requests)
        result.measures["lost_rows"] = len(lost)
        return lost

    def measure_kill(self, gone_at: float, lost: Sequence[RecordedRequest]) -> None:
        """Store which failures and which lost rows the killed replica does not explain.

        Args:
            gone_at: time at which the process had ended: its kernel closes its connections until then.
            lost: requests whose rows the log has lost.
        """
        failed = [request for request in self.traffic.requests if request.outcome != OK]
        unexplained = [
            request
            for request in failed
            if not (request.sent <= gone_at and (request.done or gone_at) >= self.fault_at)
        ]
        in_flight = sum(request.in_flight(self.fault_at) for request in self.traffic.requests)
        oldest = self.fault_at - FLUSH_S - 1.0
        self.result.measures["failed_not_in_flight"] = len(unexplained)
        self.result.measures["lost_rows_flushed"] = sum((r.done or oldest) < oldest for r in lost)
        self.result.notes.append(
            f"{in_flight} requests were in flight at both replicas; the process was gone after "
            f"{1000 * (gone_at - self.fault_at):.0f} ms"
        )


@contextmanager
def under_traffic(
    service: ServiceProcess, scenario: str, *, per_s: float = RATE_PER_S, before_s: float = BEFORE_S
) -> Iterator[Experiment]:
    """Send small requests while the block runs, and from `before_s` before it until `AFTER_S` after it."""
    with RequestStream(service.url, SMALL_TEXTS, per_s) as traffic:
        experiment = Experiment(service, traffic, ScenarioResult(scenario))
        time.sleep(before_s)
        yield experiment
        time.sleep(AFTER_S)
        experiment.ended_at = time.monotonic()


def p99_ratio(
    experiment: Experiment, start: float, end: float, *, settle_s: float = 1.0
) -> tuple[float, str]:
    """Return the p99 during a fault divided by that before and after it, and both as a note.

    Args:
        experiment: completed experiment.
        start: start of the fault.
        end: end of the fault.
        settle_s: seconds after the fault's end that count for neither.
    """
    during = p99_s(experiment.between(start, end))
    normal = p99_s([*experiment.between(0, start), *experiment.between(end + settle_s, experiment.ended_at)])
    return during / normal, f"p99 {1000 * normal:.0f} ms without and {1000 * during:.0f} ms with the fault"
