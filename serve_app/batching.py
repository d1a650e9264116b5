"""The dynamic batcher: a bounded first-in-first-out queue in front of one device.

    submit ──> queue (bounded in items, tokens and expected wait) ──> device thread: take a batch, forward
       ^                                                                     │
       └────────── results, each to its own request <── event loop <─────────┘

A batch is formed when the device is free, never sealed earlier: whatever waits then goes, oldest first, up to
the token budget. There is no timer, so an idle device starts at once, and a busy one finds a full batch when
it is done. What was cancelled or is past its deadline is left out as the batch is formed. The device thread
takes its next batch itself; it never waits for the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, cast

from serve_app.errors import DeadlineExceeded, ModelFailure, NotReady, QueueFull, ServiceError

Clock = Callable[[], float]
"""Seconds on a clock that never goes back, as time.monotonic."""


class Sized(Protocol):
    """A text as the batcher sees it: something with a length in tokens."""

    @property
    def tokens(self) -> int:
        """Length in tokens, special tokens included; at least 1."""


_STUCK_AFTER_S = 60.0

Item = TypeVar("Item", bound=Sized)
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """The bounds of the queue and of a batch.

    Attributes:
        max_batch_tokens: most tokens in a batch. More fills the device better, fewer let the next batch start
            sooner. A longer text goes alone.
        max_batch_items: most texts in a batch.
        max_queue_items: most texts that wait. Bounds memory.
        max_queue_tokens: most tokens that wait. Bounds memory.
        max_queue_wait_s: longest wait, expected from the measured token rate, at which a request still
            joins the queue. Bounds latency.
    """

    max_batch_tokens: int = 1024
    max_batch_items: int = 256
    max_queue_items: int = 4096
    max_queue_tokens: int = 262_144
    max_queue_wait_s: float = 1.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Answer(Generic[Result]):
    """The results of one request, in the order of its items, with where the time went.

    Attributes:
        results: one a text.
        queue_s: from joining the queue until the first of its batches began.
        forward_s: the forwards of all its batches, added up.
    """

    results: list[Result]
    queue_s: float
    forward_s: float


@dataclass(slots=True, eq=False)
class _Request(Generic[Item, Result]):
    """One caller's texts on their way. The event loop's own; the device thread reads `gone`, `deadline`."""

    future: asyncio.Future[None]
    results: list[Result | None]
    missing: int
    joined_at: float
    deadline: float | None
    gone: bool = False
    begun_at: float | None = None
    forward_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Entry(Generic[Item, Result]):
    request: _Request[Item, Result]
    index: int
    item: Item


@dataclass(frozen=True, slots=True)
class _Ran(Generic[Item, Result]):
    """A batch that ran, or could not: results, one an entry, or the failure."""

    batch: list[_Entry[Item, Result]]
    results: Sequence[Result] | None
    failure: BaseException | None
    begun_at: float
    forward_s: float = 0.0


class _Rate:
    """Tokens a second of the busy device over its latest batches, where a full one counts for more."""

    _KEPT = 0.9  # of the earlier batches' weight with each batch, so that the latest ten or so decide

    def __init__(self) -> None:
        self._tokens = 0.0
        self._seconds = 0.0

    def observe(self, tokens: int, seconds: float) -> None:
        self._tokens = self._KEPT * self._tokens + tokens
        self._seconds = self._KEPT * self._seconds + seconds

    def seconds_for(self, tokens: int) -> float:
        return tokens * self._seconds / self._tokens if self._tokens else 0.0


class Batcher(Generic[Item, Result]):
    """Runs `forward` in a thread of its own, on batches formed from what waits.

    Args:
        forward: answers a batch; one result an item, in their order. Called by one thread only.
        limits: the bounds.
        clock: the clock of deadlines and durations.
    """

    def __init__(
        self,
        forward: Callable[[Sequence[Item]], Sequence[Result]],
        limits: BatchLimits,
        *,
        clock: Clock = time.monotonic,
    ) -> None:
        self._forward = forward
        self._limits = limits
        self._clock = clock
        self._rate = _Rate()
        self._wake = threading.Condition()
        # All below: read and written with `_wake` held.
        self._queue: deque[_Entry[Item, Result]] = deque()
        self._queued_tokens = 0
        self._running_tokens = 0
        self._closed = False
        self._running_since: float | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._serve_device, name="device", daemon=True)
        self._thread.start()

    def check_room(self) -> None:
        """Refuse now what would be refused after tokenising.

        Raises:
            QueueFull: a bound is reached; carries the computed seconds after which to come again.
            NotReady: the batcher is closed.
        """
        with self._wake:
            self._check_room(items=1, tokens=1)

    async def submit(self, items: Sequence[Item], *, deadline: float | None = None) -> Answer[Result]:
        """Wait for the results of one request.

        Cancelling the call takes what still waits out of the queue.

        Args:
            items: at least one.
            deadline: moment on the batcher's clock after which nobody waits any more; None for no end.

        Returns:
            One result an item, in their order, and where the time went.

        Raises:
            QueueFull: no room; nothing was queued.
            DeadlineExceeded: the deadline passed first.
            ModelFailure: a batch with one of the items failed.
            NotReady: the batcher was closed.
        """
        loop = asyncio.get_running_loop()
        now = self._clock()
        if deadline is not None and deadline <= now:
            raise DeadlineExceeded("the deadline had passed before the request reached the queue")
        request: _Request[Item, Result] = _Request(
            future=loop.create_future(),
            results=[None] * len(items),
            missing=len(items),
            joined_at=now,
            deadline=deadline,
        )
        tokens = sum(item.tokens for item in items)
        with self._wake:
            self._check_room(len(items), tokens)
            self._queue.extend(_Entry(request, index, item) for index, item in enumerate(items))
            self._queued_tokens += tokens
            self._wake.notify()
        try:
            async with asyncio.timeout(None if deadline is None else deadline - now):
                await request.future
        except TimeoutError as error:
            raise DeadlineExceeded(f"no answer within {1000 * (self._clock() - now):.0f} ms") from error
        finally:
            request.gone = True
        assert request.begun_at is not None
        results = cast("list[Result]", request.results)  # complete, or the future would not be done
        return Answer(results, queue_s=request.begun_at - now, forward_s=request.forward_s)

    def check_health(self) -> None:
        """Tell whether the device answers.

        Raises:
            ModelFailure: the latest batch failed, the device thread has died, or a batch has been running for
                over a minute.
        """
        with self._wake:
            failure, running_since = self._failure, self._running_since
        if failure is not None:
            raise ModelFailure(f"the latest batch failed: {failure!r}") from failure
        if not self._thread.is_alive() and not self._closed:
            raise ModelFailure("the device thread has died")
        if running_since is not None and self._clock() - running_since > _STUCK_AFTER_S:
            raise ModelFailure(f"a batch has been running for {self._clock() - running_since:.0f} s")

    @property
    def waiting_items(self) -> int:
        """Texts in the queue."""
        return len(self._queue)

    async def close(self) -> None:
        """Take no more requests, answer those that wait, end the thread."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        await asyncio.to_thread(self._thread.join)

    def _check_room(self, items: int, tokens: int) -> None:
        if self._closed:
            raise NotReady("this model is being replaced or shut down; send the request again")
        limits, waiting = self._limits, len(self._queue)
        ahead_s = self._rate.seconds_for(self._queued_tokens + self._running_tokens)
        if waiting + items > limits.max_queue_items:
            reason = f"{waiting} texts wait, {limits.max_queue_items} may (max_queue_items)"
        elif self._queued_tokens + tokens > limits.max_queue_tokens:
            reason = f"{self._queued_tokens} tokens wait, {limits.max_queue_tokens} may (max_queue_tokens)"
        elif waiting and ahead_s > limits.max_queue_wait_s:
            bound = limits.max_queue_wait_s
            reason = f"the wait would be {ahead_s:.1f} s, the bound is {bound} s (max_queue_wait_s)"
        else:
            return
        raise QueueFull(f"the queue is full: {reason}; come again in {ahead_s:.1f} s", retry_after_s=ahead_s)

    def _serve_device(self) -> None:
        """The device thread: batch after batch until closed."""
        try:
            while batch := self._take():
                self._run(batch)
        except BaseException as error:  # the thread must not leave callers hanging, whatever ended it
            with self._wake:
                self._failure, self._closed = error, True
                batch = list(self._queue)
                self._queue.clear()
            _hand_over(_Ran(batch, None, error, self._clock()))
            raise

    def _take(self) -> list[_Entry[Item, Result]]:
        """Wait for work and form a batch of the oldest; empty when closed and done."""
        with self._wake:
            while True:
                batch = self._form_batch()
                if batch or (self._closed and not self._queue):
                    return batch
                self._wake.wait()

    def _form_batch(self) -> list[_Entry[Item, Result]]:
        batch: list[_Entry[Item, Result]] = []
        tokens, now = 0, self._clock()
        while self._queue and len(batch) < self._limits.max_batch_items:
            entry = self._queue[0]
            size, deadline = entry.item.tokens, entry.request.deadline
            wanted = not entry.request.gone and (deadline is None or deadline > now)
            if wanted and batch and tokens + size > self._limits.max_batch_tokens:
                break
            self._queue.popleft()
            self._queued_tokens -= size
            if wanted:
                batch.append(entry)
                tokens += size
        self._running_tokens = tokens
        self._running_since = now if batch else None
        return batch

    def _run(self, batch: list[_Entry[Item, Result]]) -> None:
        begun_at = self._clock()
        results: Sequence[Result] | None = None
        failure: BaseException | None = None
        try:
            results = self._forward([entry.item for entry in batch])
            if len(results) != len(batch):
                raise ValueError(f"forward gave {len(results)} results for {len(batch)} texts")
        except BaseException as error:  # any: this batch's callers must hear of it
            results, failure = None, error
        forward_s = self._clock() - begun_at
        tokens = self._running_tokens
        with self._wake:
            self._failure = failure
            self._running_tokens, self._running_since = 0, None
            if failure is None:
                self._rate.observe(tokens, forward_s)
        _hand_over(_Ran(batch, results, failure, begun_at, forward_s))
        if failure is not None and not isinstance(failure, Exception):
            raise failure  # the thread was told to end


def _hand_over(ran: _Ran[Item, Result]) -> None:
    """Give a batch's outcome to the event loop, which owns the requests."""
    if not ran.batch:
        return
    loop = ran.batch[0].request.future.get_loop()
    # A closed loop has nobody left who could wait for the answer.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(_settle, ran)


def _settle(ran: _Ran[Item, Result]) -> None:
    """In the event loop: each result to its own request, and wake those that are complete."""
    for request in dict.fromkeys(entry.request for entry in ran.batch):
        request.forward_s += ran.forward_s
        request.begun_at = ran.begun_at if request.begun_at is None else request.begun_at
        if ran.failure is not None and not request.future.done():
            request.future.set_exception(_as_model_failure(ran.failure))
    if ran.results is None:
        return
    for entry, result in zip(ran.batch, ran.results, strict=True):
        request = entry.request
        request.results[entry.index] = result
        request.missing -= 1
        if request.missing == 0 and not request.future.done():
            request.future.set_result(None)


def _as_model_failure(failure: BaseException) -> ServiceError:
    error = ModelFailure(f"the model failed on a batch with this request's text: {type(failure).__name__}")
    error.__cause__ = failure
    return error
