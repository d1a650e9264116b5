"""Admission control: the bounds of the queue and of a batch, and who may join the queue."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from serve_app.errors import QueueFull

Priority = Literal["interactive", "bulk"]
"""Interactive requests go first. Bulk requests take what they leave, and may wait longer."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """The bounds of the queue and of a batch.

    Attributes:
        max_batch_tokens: maximum tokens in a batch. More fills the device better, fewer let the next batch
            start sooner. A longer text runs alone.
        flood_batch: the fraction of max_batch_tokens that a batch holds as the refused fraction nears 1.
            Below 1 where refusing takes cores from the device: a batch then takes no longer than at other
            times.
        max_batch_items: maximum texts in a batch.
        max_queue_items: maximum texts of a class that wait. Bounds memory.
        max_queue_tokens: maximum tokens of a class that wait. Bounds memory.
        max_queue_wait_s: maximum expected wait, own work beyond a batch included, at which an interactive
            request joins the queue; less of it in a sudden burst and in an overload, see `Admission`. Bounds
            latency.
        max_bulk_wait_s: the same of a bulk request.
    """

    max_batch_tokens: int = 1024
    flood_batch: float = 1.0
    max_batch_items: int = 256
    max_queue_items: int = 16_384
    max_queue_tokens: int = 1_048_576
    max_queue_wait_s: float = 1.0
    max_bulk_wait_s: float = 20.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class QueueForecast:
    """What a request would meet in the queue.

    Attributes:
        waiting_items: texts of the request's class that wait.
        waiting_tokens: of those texts.
        wait_s: expected seconds of the others' texts before the last of the request's.
        own_s: expected seconds of the request's own batches before its last one. 0 for all that fit into one
            batch: so a request is refused before its body is read exactly where it is refused after it.
    """

    waiting_items: int
    waiting_tokens: int
    wait_s: float
    own_s: float


class Admission:
    """Who may join the queue, and how much of it a batch takes.

    A queue bridges the gaps between arrivals. Where most are refused there are no gaps, and a shorter queue
    keeps the device as busy: then the bound on the wait is lower, so that those who do get in are answered as
    soon as at other times, although what is refused costs the device a part of its cores.

    That cost shows in the measured throughput only after some batches. So that a burst is not admitted by a
    throughput that is about to fall, the queue may grow by a part of the bound at once, and by the rest as
    time goes by. Both hold for interactive requests; bulk requests have their bound as it is.
    """

    _REFUSAL_MEMORY = 100.0  # requests, about
    _OVERLOAD_DISCOUNT = 0.3
    """The part of the bound that is taken off as the refused fraction nears 1. With more, the wait would be
    shorter than what Retry-After can state in whole seconds."""
    _BURST_FRACTION = 0.6
    """The part of the bound by which the wait may exceed its recent mean. Above 0.5, so that no request is
    refused while its wait is below half of the bound."""
    _EWMA_TIME_CONSTANT_S = 2.0

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        self._refused_fraction = 0.0
        self._recent_wait_s = 0.0
        self._updated_at = -math.inf

    @property
    def max_wait_s(self) -> float:
        """The bound on the expected wait of an interactive request, as of the latest one."""
        bound_s = self._limits.max_queue_wait_s
        burst_s = self._recent_wait_s + self._BURST_FRACTION * bound_s
        return min(burst_s, bound_s * (1 - self._OVERLOAD_DISCOUNT * self._refused_fraction))

    @property
    def max_batch_tokens(self) -> float:
        """The bound on a batch's tokens, as of the latest interactive request."""
        less = (1 - self._limits.flood_batch) * self._refused_fraction
        return self._limits.max_batch_tokens * (1 - less)

    def check_room(
        self, forecast: QueueForecast, *, items: int, tokens: int, priority: Priority, now: float
    ) -> None:
        """Let a request join the queue, or refuse it with the seconds after which to try again.

        A request that finds nothing of its class in the queue may join, whatever its own size.

        Args:
            forecast: what the request would meet in the queue.
            items: texts of the request.
            tokens: of those texts.
            priority: class of the request.
            now: seconds of any clock that does not go back.

        Raises:
            QueueFull: one of the bounds would be exceeded.
        """
        limits, wait_s = self._limits, forecast.wait_s
        if priority == "interactive":
            self._update(wait_s, now)
            bound_s, name = self.max_wait_s, "max_queue_wait_s"
        else:
            bound_s, name = limits.max_bulk_wait_s, "max_bulk_wait_s"
        if forecast.waiting_items + items > limits.max_queue_items:
            reason = f"{forecast.waiting_items} texts wait, {limits.max_queue_items} may (max_queue_items)"
        elif forecast.waiting_tokens + tokens > limits.max_queue_tokens:
            reason = (
                f"{forecast.waiting_tokens} tokens wait, {limits.max_queue_tokens} may (max_queue_tokens)"
            )
        elif forecast.waiting_items and wait_s + forecast.own_s > bound_s:
            own = f" and {forecast.own_s:.1f} s of its own" if forecast.own_s >= 0.1 else ""
            reason = f"the wait would be {wait_s:.1f} s{own}, the bound is {bound_s:.2g} s now ({name})"
            if forecast.own_s > bound_s:
                reason += "; send fewer texts at a time, or as X-Request-Priority: bulk"
        else:
            return
        if priority == "interactive":
            self._remember(refused=True)
        retry_after_s = max(wait_s, 0.001)
        raise QueueFull(f"the queue is full: {reason}; retry in {retry_after_s:.1f} s", retry_after_s)

    def joined(self, priority: Priority) -> None:
        """Record that a request has joined the queue."""
        if priority == "interactive":
            self._remember(refused=False)

    def _update(self, wait_s: float, now: float) -> None:
        forgotten = math.exp((self._updated_at - now) / self._EWMA_TIME_CONSTANT_S)
        self._recent_wait_s = wait_s + forgotten * (self._recent_wait_s - wait_s)
        self._updated_at = now

    def _remember(self, *, refused: bool) -> None:
        self._refused_fraction += (refused - self._refused_fraction) / self._REFUSAL_MEMORY
