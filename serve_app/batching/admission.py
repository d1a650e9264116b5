"""Admission control: limits of the queue and of a batch, and which requests may join the queue."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from serve_app.errors import QueueFullError

Priority = Literal["interactive", "bulk"]
"""Interactive requests are served first. Bulk requests use the remaining capacity and may wait longer."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """Limits of the queue and of a batch.

    Attributes:
        max_batch_tokens: Maximum number of tokens in a batch. Larger batches use the device better, smaller
            ones let the next batch start sooner. A longer text runs alone.
        flood_batch: Fraction of max_batch_tokens that a batch holds as the refused fraction approaches 1.
            Below 1 on devices that share cores with the refusals, so that a batch takes no longer than usual.
        max_batch_items: Maximum number of texts in a batch.
        max_queue_items: Maximum number of queued texts of a class. Bounds memory.
        max_queue_tokens: Maximum number of queued tokens of a class. Bounds memory.
        max_queue_wait_s: Maximum expected wait at which an interactive request joins the queue, with the
            request's own work beyond one batch; lower in a burst and under overload, see `Admission`. Bounds
            latency.
        max_bulk_wait_s: The same for a bulk request.
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
    """Queue and expected wait that a new request would find.

    Attributes:
        waiting_items: Number of queued texts of the request's class.
        waiting_tokens: Number of tokens of these texts.
        wait_s: Expected seconds of other requests' texts that run before the last text of this request.
        own_s: Expected seconds of the request's own batches before its last one. 0 for requests that fit into
            one batch, so that the decision before the body is read equals the decision after it.
    """

    waiting_items: int
    waiting_tokens: int
    wait_s: float
    own_s: float


class Admission:
    """Decides which requests may join the queue, and the size of batches under overload.

    A queue bridges gaps between arrivals. While most requests are refused there are no gaps, and a shorter
    queue keeps the device as busy. The bound on the wait is then lower, so that accepted requests are
    answered as fast as usual although refusals use a part of the device's cores.

    The measured throughput reflects that cost only after some batches. To avoid admitting a burst by a
    throughput that is about to fall, the queue may grow by a part of the bound immediately, and by the rest
    over time. Both apply to interactive requests only; the bound of bulk requests is constant.
    """

    _REFUSAL_MEMORY = 100.0  # requests, about
    _OVERLOAD_DISCOUNT = 0.3
    """Reduction of the bound as the refused fraction approaches 1. With a larger one, the wait would be
    shorter than the resolution of Retry-After, 1 s."""
    _BURST_FRACTION = 0.6
    """Fraction of the bound by which the wait may exceed its recent mean. Above 0.5, so that no request is
    refused while its wait is below half of the bound."""
    _EWMA_TIME_CONSTANT_S = 2.0

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        self._refused_fraction = 0.0
        self._recent_wait_s = 0.0
        self._updated_at = -math.inf

    @property
    def max_wait_s(self) -> float:
        """Bound on the expected wait of an interactive request, as of the latest one."""
        bound_s = self._limits.max_queue_wait_s
        burst_s = self._recent_wait_s + self._BURST_FRACTION * bound_s
        return min(burst_s, bound_s * (1 - self._OVERLOAD_DISCOUNT * self._refused_fraction))

    @property
    def max_batch_tokens(self) -> float:
        """Bound on a batch's tokens, as of the latest interactive request."""
        less = (1 - self._limits.flood_batch) * self._refused_fraction
        return self._limits.max_batch_tokens * (1 - less)

    def check_room(
        self, forecast: QueueForecast, *, items: int, tokens: int, priority: Priority, now: float
    ) -> None:
        """Raise QueueFullError, with the seconds until a retry, if a request may not join the queue.

        A request of any size may join if no request of its class is queued.

        Args:
            forecast: Queue and expected wait that the request would find.
            items: Number of texts of the request.
            tokens: Number of tokens of these texts.
            priority: Class of the request.
            now: Seconds of a monotonic clock.

        Raises:
            QueueFullError: A limit would be exceeded.
        """
        limits, wait_s = self._limits, forecast.wait_s
        if priority == "interactive":
            self._update(wait_s, now)
            bound_s, name = self.max_wait_s, "max_queue_wait_s"
        else:
            bound_s, name = limits.max_bulk_wait_s, "max_bulk_wait_s"
        if forecast.waiting_items + items > limits.max_queue_items:
            reason = f"{forecast.waiting_items} texts wait; limit: {limits.max_queue_items} (max_queue_items)"
        elif forecast.waiting_tokens + tokens > limits.max_queue_tokens:
            reason = (
                f"{forecast.waiting_tokens} tokens wait; limit: {limits.max_queue_tokens} (max_queue_tokens)"
            )
        elif forecast.waiting_items and wait_s + forecast.own_s > bound_s:
            own = f" plus {forecast.own_s:.1f} s for the request itself" if forecast.own_s >= 0.1 else ""
            reason = f"the wait would be {wait_s:.1f} s{own}; limit: {bound_s:.2g} s now ({name})"
            if forecast.own_s > bound_s:
                reason += "; send fewer texts per request, or set X-Request-Priority: bulk"
        else:
            return
        if priority == "interactive":
            self._remember(refused=True)
        retry_after_s = max(wait_s, 0.001)
        raise QueueFullError(f"the queue is full: {reason}; retry in {retry_after_s:.1f} s", retry_after_s)

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
