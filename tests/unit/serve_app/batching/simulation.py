"""Simulation of a device, its scheduler and clients: forecast and actual waiting times of requests."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from serve_app.batching.admission import BatchLimits, Priority
from serve_app.batching.fair_queue import QueuedRequest
from serve_app.batching.scheduler import BatchScheduler
from serve_app.errors import QueueFullError


@dataclass(frozen=True)
class DeviceModel:
    """Execution time of a batch, in seconds of the device."""

    fixed_s: float
    token_s: float
    max_batch_tokens: int
    lanes: int = 1

    def batch_s(self, tokens: int) -> float:
        return self.fixed_s + self.token_s * tokens

    @property
    def tokens_per_s(self) -> float:
        return self.max_batch_tokens / self.batch_s(self.max_batch_tokens)


CPU = DeviceModel(0.010, 0.0002, 512)
CPU_TWO_LANES = DeviceModel(0.010, 0.0002, 512, lanes=2)
GPU = DeviceModel(0.005, 0.000004, 16_384)


@dataclass(frozen=True)
class Text:
    tokens: int


@dataclass(eq=False, slots=True, kw_only=True)
class SimulatedRequest(QueuedRequest[Text]):
    """Request in the simulation, with times in simulated seconds."""

    arrived_at: float
    done_at: float = 0.0
    left: int = 0
    on_done: Callable[[float], None] | None = None

    @property
    def latency_s(self) -> float:
        return self.done_at - self.arrived_at


@dataclass(frozen=True)
class Refusal:
    at: float
    priority: Priority
    tokens: int
    retry_after_s: float
    truth_s: float | None
    """Seconds until its last text would have started, if it had been admitted as the last request."""


@dataclass
class Simulation:
    """Event loop in simulated time; batches that run concurrently share the device evenly."""

    device: DeviceModel
    limits: BatchLimits = field(default_factory=BatchLimits)
    slowness: float = 1.0
    check_every: int = 1
    """Interval at which refusals are compared with the true wait, which requires a copy of the simulation."""
    now: float = 0.0
    done: list[SimulatedRequest] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scheduler: BatchScheduler[SimulatedRequest] = BatchScheduler(self.limits, self.device.lanes)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._left_s: dict[int, float] = {}  # remaining device seconds of each lane's batch
        self._entries: dict[int, list[tuple[SimulatedRequest, int]]] = {}
        self._updated_at = 0.0
        # Batches of the model's warm-up on loading.
        for sizes in ([10], [10], *[[16] * (self.device.max_batch_tokens // 16 * self.device.lanes)] * 2):
            self.arrive(sizes, priority="interactive")
            self.run()
        self.done.clear()

    def at(self, when: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._count), action))

    def arrive(
        self,
        sizes: Sequence[int],
        *,
        priority: Priority | None = None,
        tenant: str = "",
        on_done: Callable[[float], None] | None = None,
    ) -> SimulatedRequest | None:
        """Submit a request now; return None if it is refused."""
        tokens = sum(sizes)
        priority = priority or self.scheduler.priority_of(tokens)
        try:
            self.scheduler.check_room(tenant, priority, items=len(sizes), tokens=tokens, now=self.now)
        except QueueFullError as refusal:
            truth_s = None
            if len(self.refused) % self.check_every == 0:
                truth_s = self._time_until_served(priority, tenant, sizes)
            self.refused.append(Refusal(self.now, priority, tokens, refusal.retry_after_s, truth_s))
            return None
        request = SimulatedRequest(
            items=[Text(size) for size in sizes],
            tenant=tenant,
            arrived_at=self.now,
            left=len(sizes),
            on_done=on_done,
        )
        self.scheduler.push(request, priority, self.now)
        self._begin()
        return request

    def run(self, until: float = float("inf")) -> None:
        """Advance the time to `until`, or to the last event."""
        while True:
            ends_at = self._next_end()
            event_at = self._events[0][0] if self._events else float("inf")
            when = min(ends_at, event_at)
            if when == float("inf") or when > until:
                break
            self._advance(when)
            if event_at <= ends_at:
                heapq.heappop(self._events)[2]()
            else:
                self._end_finished()
            self._begin()
        if until != float("inf"):
            self._advance(until)

    def _time_until_served(self, priority: Priority, tenant: str, sizes: Sequence[int]) -> float:
        """Return the time until a refused request's last text would start, by admitting it in a copy."""
        copy = Simulation.__new__(Simulation)
        copy.__dict__.update(self.__dict__)
        copy.scheduler, copy._entries = _copied(self)
        copy._left_s, copy._events, copy.done = dict(self._left_s), [], []
        request = SimulatedRequest(
            items=[Text(size) for size in sizes], tenant=tenant, arrived_at=self.now, left=len(sizes)
        )
        copy.scheduler.push(request, priority, self.now)
        copy._begin()
        while request.waiting_items:
            copy._advance(copy._next_end())
            copy._end_finished()
            copy._begin()
        return copy.now - self.now

    def _advance(self, when: float) -> None:
        for lane in self._left_s:
            self._left_s[lane] -= (when - self._updated_at) / len(self._left_s)
        self.now = self._updated_at = when

    def _next_end(self) -> float:
        if not self._left_s:
            return float("inf")
        return self._updated_at + min(self._left_s.values()) * len(self._left_s)

    def _end_finished(self) -> None:
        lane = min(self._left_s, key=self._left_s.__getitem__)
        del self._left_s[lane]
        self.scheduler.end(lane, self.now, is_measured=True)
        for request, _ in self._entries.pop(lane):
            request.left -= 1
            if not request.left:
                request.done_at = self.now
                self.done.append(request)
                if request.on_done is not None:
                    request.on_done(self.now)

    def _begin(self) -> None:
        for lane in range(self.device.lanes):
            if lane not in self._left_s and (batch := self.scheduler.begin(lane, self.now)):
                self._left_s[lane] = self.slowness * self.device.batch_s(batch.tokens)
                self._entries[lane] = batch.entries


def _copied(
    simulation: Simulation,
) -> tuple[BatchScheduler[SimulatedRequest], dict[int, list[tuple[SimulatedRequest, int]]]]:
    import copy

    callbacks = {}
    for request in _requests(simulation):
        callbacks[request], request.on_done = request.on_done, None
    copied: tuple[BatchScheduler[SimulatedRequest], dict[int, list[tuple[SimulatedRequest, int]]]] = (
        copy.deepcopy((simulation.scheduler, simulation._entries))
    )
    for request, on_done in callbacks.items():
        request.on_done = on_done
    return copied


def _requests(simulation: Simulation) -> set[SimulatedRequest]:
    running = {request for entries in simulation._entries.values() for request, _ in entries}
    queues = simulation.scheduler._queues.values()
    return running | {request for queue in queues for flow in queue._flows for request in flow.requests}
