"""Simulated service for the policy: pods take time to start, queues refuse, replicas sample and report.

The simulation advances in steps of one second. The load of a second is shared evenly among the ready pods.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from types import SimpleNamespace
from typing import Any

from cluster.autoscaling.policy import SLOAutoscalingPolicy
from serve_app.replica.autoscaling_stats import AutoscalingStats

LOOK_BACK_S, SAMPLE_S, REPORT_S, START_S = 30, 6, 10, 20
TOKENS = 40
QUEUE_S = 1.0


@dataclass
class Replica:
    """One pod: a device, a queue of at most `QUEUE_S`, and the samples that it has reported."""

    born_s: int
    capacity: float
    ahead: float = 0.0
    requests: float = 0.0
    refused: float = 0.0
    samples: list[tuple[float, AutoscalingStats]] = field(default_factory=list)
    reported: list[tuple[float, AutoscalingStats]] = field(default_factory=list)

    def second(self, now_s: int, requests: float) -> None:
        """Accept the requests of a second, compute for a second, and sample and report when it is due."""
        room = self.capacity * (1 + QUEUE_S) - self.ahead
        accepted = min(requests, room / TOKENS)
        self.requests += accepted
        self.refused += requests - accepted
        self.ahead = max(0.0, self.ahead + accepted * TOKENS - self.capacity)
        age_s = now_s - self.born_s
        if age_s % SAMPLE_S == 0:
            sample = AutoscalingStats(
                requests=self.requests,  # type: ignore[arg-type]  # a fraction of a request is fine
                tokens=self.requests * TOKENS,  # type: ignore[arg-type]
                refused=self.refused,  # type: ignore[arg-type]
                ahead_s=self.ahead / self.capacity,
                capacity_tokens_per_s=self.capacity,
            )
            self.samples.append((now_s, sample))
        if age_s % REPORT_S == 0:
            self.reported = [point for point in self.samples if point[0] >= now_s - LOOK_BACK_S]


@dataclass
class Service:
    """Deployment with its autoscaler.

    Attributes:
        aims: settings of the policy.
        capacity: throughput of a pod's device, in tokens per second.
        least: minimum number of pods.
        most: maximum number of pods.
    """

    aims: dict[str, Any]
    capacity: float = 4000.0
    least: int = 1
    most: int = 10

    def __post_init__(self) -> None:
        self.policy = SLOAutoscalingPolicy(**self.aims)
        self.now_s = 0
        self.target = self.least
        self.replicas = [Replica(0, self.capacity) for _ in range(self.least)]
        self.coming: list[int] = []
        self.state: dict[str, Any] = {}
        self.targets: list[int] = []

    def run(self, loads: Iterable[float]) -> list[int]:
        """Apply the load of each second in requests; return the target number of pods after each second."""
        began = len(self.targets)
        for load in loads:
            self.now_s += 1
            self._start_and_stop()
            for replica in self.replicas:
                replica.second(self.now_s, load / len(self.replicas))
            self.target, self.state = self.policy(self.context())  # type: ignore[arg-type]
            self.targets.append(self.target)
        return self.targets[began:]

    def context(self) -> SimpleNamespace:
        """Return the context that Serve passes to the policy."""
        metrics: dict[str, dict[int, list[SimpleNamespace]]] = {}
        for number, replica in enumerate(self.replicas):
            for time_s, sample in replica.reported:
                for name, value in asdict(sample).items():
                    series = metrics.setdefault(name, {}).setdefault(number, [])
                    series.append(SimpleNamespace(timestamp=float(time_s), value=float(value)))
        return SimpleNamespace(
            raw_metrics=metrics,
            target_num_replicas=self.target,
            capacity_adjusted_min_replicas=self.least,
            capacity_adjusted_max_replicas=self.most,
            policy_state=dict(self.state),
            current_time=float(self.now_s),
        )

    def _start_and_stop(self) -> None:
        self.coming += [self.now_s + START_S] * (self.target - len(self.replicas) - len(self.coming))
        while self.coming and self.target < len(self.replicas) + len(self.coming):
            self.coming.pop()
        del self.replicas[self.target :]
        while self.coming and self.coming[0] <= self.now_s:
            self.replicas.append(Replica(self.coming.pop(0), self.capacity))
