"""The bounds of the queue and of a batch, who may join the queue, and what a refusal says."""

from __future__ import annotations

import math
from dataclasses import dataclass

from serve_app.errors import QueueFull


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """The bounds of the queue and of a batch.

    Attributes:
        max_batch_tokens: most tokens in a batch. More fills the device better, fewer let the next batch start
            sooner. A longer text goes alone.
        flood_batch: the part of max_batch_tokens that a batch holds as the refused fraction nears 1. Below 1
            where refusing takes cores from the device: a batch then takes no longer than at other times.
        max_batch_items: most texts in a batch.
        max_queue_items: most texts that wait. Bounds memory.
        max_queue_tokens: most tokens that wait. Bounds memory.
        max_queue_wait_s: longest wait, expected from the measured token rate, at which a request still
            joins the queue; less of it in a sudden rush and where most are refused, see `Admission`. Bounds
            latency.
    """

    max_batch_tokens: int = 1024
    flood_batch: float = 1.0
    max_batch_items: int = 256
    max_queue_items: int = 4096
    max_queue_tokens: int = 262_144
    max_queue_wait_s: float = 1.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")


class Admission:
    """Who may join the queue, and how much of it a batch takes.

    A queue bridges the gaps between arrivals. Where most are refused there are no gaps, and a shorter queue
    keeps the device as busy: then the bound on the wait is lower, so that those who do get in are answered as
    soon as at other times, although what is refused costs the device a part of its cores.

    That cost shows in the measured rate only after some batches. So that a rush is not let in by a rate that
    is about to fall, the queue may grow by a third of the bound at once, and by the rest as time goes by.
    """

    _REMEMBERED = 100.0  # requests, about
    _YIELD = 0.3
    """The part of the bound that is taken off as the refused fraction nears 1. With more, the wait would be
    shorter than what Retry-After can say, which has whole seconds."""
    _AT_ONCE = 1 / 3
    """The part of the bound by which the wait may exceed what it was of late."""
    _OF_LATE_S = 1.0  # time constant

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        self._refused_fraction = 0.0
        self._wait_of_late_s = 0.0
        self._looked_at = -math.inf

    @property
    def max_wait_s(self) -> float:
        """The bound on the expected wait, as of the latest request."""
        bound_s = self._limits.max_queue_wait_s
        sudden_s = self._wait_of_late_s + self._AT_ONCE * bound_s
        return min(sudden_s, bound_s * (1 - self._YIELD * self._refused_fraction))

    @property
    def max_batch_tokens(self) -> float:
        """The bound on a batch's tokens, as of the latest request."""
        less = (1 - self._limits.flood_batch) * self._refused_fraction
        return self._limits.max_batch_tokens * (1 - less)

    def check_room(
        self, *, items: int, tokens: int, waiting: int, waiting_tokens: int, ahead_s: float, now: float
    ) -> None:
        """Let a request join the queue, or say when to come again.

        Args:
            items: texts of the request.
            tokens: of those texts.
            waiting: texts that wait.
            waiting_tokens: of the texts that wait.
            ahead_s: until the device is done with all that waits and runs.
            now: seconds of any clock that does not go back.

        Raises:
            QueueFull: one of the bounds would be exceeded.
        """
        limits = self._limits
        self._look(ahead_s, now)
        if waiting + items > limits.max_queue_items:
            reason = f"{waiting} texts wait, {limits.max_queue_items} may (max_queue_items)"
        elif waiting_tokens + tokens > limits.max_queue_tokens:
            reason = f"{waiting_tokens} tokens wait, {limits.max_queue_tokens} may (max_queue_tokens)"
        elif waiting and ahead_s > self.max_wait_s:
            bound = f"{self.max_wait_s:.2g} s"
            reason = f"the wait would be {ahead_s:.1f} s, the bound is {bound} now (max_queue_wait_s)"
        else:
            return
        self._remember(refused=True)
        raise QueueFull(f"the queue is full: {reason}; come again in {ahead_s:.1f} s", retry_after_s=ahead_s)

    def joined(self) -> None:
        """Take note of a request that has joined the queue."""
        self._remember(refused=False)

    def _look(self, ahead_s: float, now: float) -> None:
        forgotten = math.exp((self._looked_at - now) / self._OF_LATE_S)
        self._wait_of_late_s = ahead_s + forgotten * (self._wait_of_late_s - ahead_s)
        self._looked_at = now

    def _remember(self, *, refused: bool) -> None:
        self._refused_fraction += (refused - self._refused_fraction) / self._REMEMBERED


class DeviceRate:
    """Tokens a second of the busy device over its latest batches: of all of them, and of the full ones."""

    def __init__(self) -> None:
        self._all = _Mean()
        self._full: _Mean | None = None

    def observe(self, tokens: int, seconds: float, *, full: bool) -> None:
        """Take in a batch.

        Args:
            tokens: of the batch.
            seconds: for how long the device was busy since the batch before it ended.
            full: whether it shows what the device can do: it took as much as fits, or left some waiting.
        """
        self._all.observe(tokens, seconds)
        if full and self._full is None:
            self._full = _Mean()  # the first one pays for what is done once
        elif full and self._full is not None:
            self._full.observe(tokens, seconds)

    def seconds_for(self, tokens: int) -> float:
        """How long the device takes for so many tokens; 0 before the first batch."""
        return tokens * self._all.seconds / self._all.tokens if self._all.tokens else 0.0

    @property
    def capacity_tokens_per_s(self) -> float:
        """The rate of a device that never lacks work; 0 before two full batches.

        The small batches of a quiet hour do not count, since they say little of what the device can do.
        """
        return self._full.tokens / self._full.seconds if self._full and self._full.seconds else 0.0


class _Mean:
    """Tokens and seconds over batches, where a larger one counts for more."""

    _KEPT = 0.9  # of the earlier batches' weight with each batch, so that the latest ten or so decide

    def __init__(self) -> None:
        self.tokens = 0.0
        self.seconds = 0.0

    def observe(self, tokens: int, seconds: float) -> None:
        self.tokens = self._KEPT * self.tokens + tokens
        self.seconds = self._KEPT * self.seconds + seconds
