"""Batch scheduler of one device: selects the texts that run next, and computes the expected wait.

Interactive requests are served first. Bulk requests run while no interactive request waits. While interactive
requests keep arriving, bulk batches are small and leave one lane free, so that an interactive request finds a
device that is free or will be soon. A bulk batch is due `BULK_PATIENCE_S` after the previous one at the
latest.

The scheduler has no threads and no clock: `batcher` calls it with a lock held, a simulation with simulated
times.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from serve_app.batching.admission import Admission, BatchLimits, Priority, QueueForecast
from serve_app.batching.fair_queue import FairQueue, QueuedRequest
from serve_app.batching.throughput import ThroughputEstimator

BULK_PATIENCE_S = 1.0
"""Seconds after which a bulk batch is formed even if interactive requests wait."""

_QUANTUM_TOKENS = 512
"""Tokens per turn of a flow, at most a batch: one long text, or a dozen short ones."""
_INTERACTIVE_MEMORY_S = 2.0
"""Seconds after an interactive request during which the next one is expected."""
_BULK_BATCH_FRACTION = 0.25
"""Fraction of a batch's tokens that a bulk batch holds while interactive requests are expected."""
_MIN_BULK_SHARE = 0.1
"""Minimum fraction of the device that bulk requests are expected to get."""
_UTILIZATION_TIME_CONSTANT_S = 5.0

Request = TypeVar("Request", bound=QueuedRequest[Any])


@dataclass(slots=True, eq=False)
class Batch(Generic[Request]):
    """Batch of texts that a lane runs.

    Attributes:
        entries: Each text as its request and its index in the request.
        tokens: Number of tokens of all texts.
        priority: Class of all texts.
        is_alone: Whether it uses the entire device, and the other lanes are idle meanwhile.
        begun_at: Start time in seconds on the caller's clock.
        device_s: The batch's share of the device's time so far: a second counts as a second if the batch is
            alone, otherwise as 1 / lanes seconds.
    """

    entries: list[tuple[Request, int]]
    tokens: int
    priority: Priority
    is_alone: bool
    begun_at: float
    device_s: float = 0.0


class BatchScheduler(Generic[Request]):
    """Queues and running batches of one device. Every `now` is in seconds on the same monotonic clock.

    Args:
        limits: Limits of the queue and of a batch.
        lanes: Number of batches that may run in parallel.
        min_parallel_tokens: Minimum number of tokens of a batch that uses the entire device when no other
            text waits or runs; smaller batches use one lane.
    """

    def __init__(self, limits: BatchLimits, lanes: int = 1, min_parallel_tokens: float = 0.0) -> None:
        self._limits = limits
        self._lanes = lanes
        self._min_parallel_tokens = min_parallel_tokens
        quantum_tokens = min(_QUANTUM_TOKENS, limits.max_batch_tokens)
        self._queues: dict[Priority, FairQueue[Request]] = {
            "interactive": FairQueue(quantum_tokens),
            "bulk": FairQueue(quantum_tokens),
        }
        self._running: dict[int, Batch[Request]] = {}  # by lane
        self._admission = Admission(limits)
        self._throughput = ThroughputEstimator()
        self._accounted_at = 0.0  # time until which `device_s` of the running batches is up to date
        self._interactive_s = 0.0  # exponentially weighted device time of interactive batches
        self._interactive_at = -math.inf  # time of the latest interactive request
        self._bulk_due_at = math.inf

    @property
    def waiting_items(self) -> int:
        """Number of queued texts."""
        return sum(queue.items for queue in self._queues.values())

    @property
    def running(self) -> list[Batch[Request]]:
        """Running batches."""
        return list(self._running.values())

    @property
    def capacity_tokens_per_s(self) -> float:
        """Throughput in tokens per second of a device that always has work; 0 while it is unknown."""
        return self._throughput.tokens_per_s(self._limits.max_batch_tokens)

    def priority_of(self, tokens: int) -> Priority:
        """Return the default class of a request: interactive if it fits into one batch."""
        return "interactive" if tokens <= self._limits.max_batch_tokens else "bulk"

    def backlog_s(self, now: float) -> float:
        """Return the backlog: expected seconds until all queued and running texts are done."""
        tokens = sum(queue.tokens for queue in self._queues.values())
        return self._running_s(now) + self._work_s(tokens, self.waiting_items)

    def check_room(self, tenant: str, priority: Priority, *, items: int, tokens: int, now: float) -> None:
        """Raise QueueFullError if a request of that size may not join the queue now."""
        queue = self._queues[priority]
        before_tokens = queue.tokens_before(tenant, tokens)
        share = 1.0
        if priority == "bulk":
            before_tokens += self._queues["interactive"].tokens
            share = self._bulk_share(now)
        begins_after_s = self._running_s(now) + self._work_s(before_tokens) - self._overlap_s()
        forecast = QueueForecast(
            waiting_items=queue.items,
            waiting_tokens=queue.tokens,
            wait_s=max(0.0, begins_after_s) / share,
            own_s=self._work_s(
                max(0, tokens - self._limits.max_batch_tokens), max(0, items - self._limits.max_batch_items)
            )
            / share,
        )
        self._admission.check_room(forecast, items=items, tokens=tokens, priority=priority, now=now)

    def push(self, request: Request, priority: Priority, now: float) -> None:
        """Queue a request that `check_room` has accepted."""
        self._admission.joined(priority)
        if priority == "interactive":
            self._interactive_at = now
        elif not self._queues["bulk"].items:
            self._bulk_due_at = now + BULK_PATIENCE_S
        self._queues[priority].push(request)

    def drop(self, request: Request, priority: Priority) -> None:
        """Remove the remaining texts of a request from its queue."""
        self._queues[priority].drop(request)

    def drain(self) -> Iterator[Request]:
        """Empty the queues; yield each request with queued texts."""
        for queue in self._queues.values():
            yield from queue.drain()

    def begin(self, lane: int, now: float) -> Batch[Request] | None:
        """Form the next batch and begin it in a free lane; return None if there is none for the lane now."""
        if not self._may_begin(lane):
            return None
        batch = self._form_batch(now)
        if batch is not None:
            self._account(now)
            self._running[lane] = batch
        return batch

    def end(self, lane: int, now: float, *, is_measured: bool) -> None:
        """End a lane's batch; `is_measured` if its duration is a valid measurement of the throughput."""
        self._account(now)
        batch = self._running.pop(lane)
        if is_measured:
            self._throughput.observe(batch.tokens, batch.device_s)

    def _may_begin(self, lane: int) -> bool:
        """Return whether a lane may begin a batch: lane 0 first, so only it can use the entire device."""
        if any(batch.is_alone for batch in self._running.values()):
            return False
        return lane == 0 or 0 in self._running

    def _form_batch(self, now: float) -> Batch[Request] | None:
        """Form the next batch: interactive requests first, unless bulk requests are due."""
        expects_interactive = now < self._interactive_at + _INTERACTIVE_MEMORY_S
        order: list[Priority] = ["interactive", "bulk"]
        if now >= self._bulk_due_at:
            order.reverse()
        for priority in order:
            max_tokens = self._admission.max_batch_tokens
            if priority == "bulk" and expects_interactive:
                if not self._has_lane_for_bulk():
                    continue
                max_tokens = _BULK_BATCH_FRACTION * self._limits.max_batch_tokens
            entries = self._queues[priority].take(max_tokens, self._limits.max_batch_items, now)
            if not entries:
                continue
            if priority == "bulk":
                self._bulk_due_at = now + BULK_PATIENCE_S if self._queues["bulk"].items else math.inf
            tokens = sum(request.items[index].tokens for request, index in entries)
            is_alone = not self._running and not self.waiting_items and tokens >= self._min_parallel_tokens
            is_alone = is_alone and not (priority == "bulk" and expects_interactive)
            return Batch(entries, tokens, priority, is_alone, now)
        return None

    def _has_lane_for_bulk(self) -> bool:
        """Return whether a further bulk batch leaves a lane to interactive requests; one lane serves both."""
        bulk_lanes = sum(batch.priority == "bulk" for batch in self._running.values())
        return bulk_lanes < max(1, self._lanes - 1)

    def _work_s(self, tokens: int, items: int = 0) -> float:
        """Return the expected device time of texts that fill complete batches."""
        by_tokens = math.ceil(tokens / self._admission.max_batch_tokens)
        by_items = math.ceil(items / self._limits.max_batch_items)
        return self._throughput.work_s(tokens, max(by_tokens, by_items))

    def _running_s(self, now: float) -> float:
        """Return the expected seconds until the running batches are done."""
        self._account(now)
        self._throughput.see_running((batch.tokens, batch.device_s) for batch in self._running.values())
        return sum(
            max(0.0, self._throughput.batch_s(batch.tokens) - batch.device_s)
            for batch in self._running.values()
        )

    def _overlap_s(self) -> float:
        """Return the expected remaining work of the other lanes when a batch begins: half a batch each."""
        return (self._lanes - 1) / 2 * self._throughput.batch_s(self._admission.max_batch_tokens)

    def _bulk_share(self, now: float) -> float:
        """Return the fraction of the device that interactive requests have recently left to bulk requests."""
        self._account(now)
        return max(_MIN_BULK_SHARE, 1 - self._interactive_s / _UTILIZATION_TIME_CONSTANT_S)

    def _account(self, now: float) -> None:
        """Add the device time since the last call to the running batches."""
        elapsed_s, self._accounted_at = now - self._accounted_at, now
        self._interactive_s *= math.exp(-elapsed_s / _UTILIZATION_TIME_CONSTANT_S)
        for batch in self._running.values():
            share_s = elapsed_s / (1 if batch.is_alone else self._lanes)
            batch.device_s += share_s
            if batch.priority == "interactive":
                self._interactive_s += share_s
