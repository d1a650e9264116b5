"""The dynamic batcher: bounded queues in front of one device.

    submit ──> queues (`scheduler`) ──> lanes, threads of the device: take a batch, forward
       ^                                                        │
       └────── results, each to its own request <── event loop <┘

A batch is formed when a lane is free, never sealed earlier: what waits then goes, up to the token budget.
There is no timer, so an idle device starts at once, and a busy one finds a full batch when it is done.
Requests that are cancelled or past their deadline leave the queue at once. A lane takes its next batch
itself; it never waits for the event loop.

A GPU has one lane. The cores of a CPU are divided among several: batches that run side by side, a core
each, do not wait for one another after every step as the threads of one batch do when the event loop takes
one of them its core. A batch that has the device to itself is given all the cores.

A batch on which the model fails runs again in parts, so that only the requests fail whose texts fail by
themselves; see `isolation`.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from serve_app.batching.admission import BatchLimits, Priority
from serve_app.batching.fair_queue import QueuedRequest, Sized
from serve_app.batching.isolation import isolate
from serve_app.batching.scheduler import Batch, BatchScheduler
from serve_app.errors import (
    DeadlineExceeded,
    ModelFailure,
    NotReady,
    ServiceError,
    TooLarge,
    UnprocessableTextError,
)
from serve_app.niceness import raise_niceness

Clock = Callable[[], float]
"""Seconds on a clock that never goes back, as time.monotonic."""

_STUCK_AFTER_S = 60.0

Item = TypeVar("Item", bound=Sized)
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Answer(Generic[Result]):
    """The results of one request, in the order of its items, with where the time went.

    Attributes:
        results: one per text.
        queue_s: from joining the queue until the first of its batches began.
        forward_s: the forwards of all its batches, added up.
    """

    results: list[Result]
    queue_s: float
    forward_s: float


@dataclass(slots=True, eq=False, kw_only=True)
class _Request(QueuedRequest[Item], Generic[Item, Result]):
    """A caller's texts with their results. The event loop's own, but for what `QueuedRequest` has."""

    future: asyncio.Future[None]
    results: list[Result | None]
    missing: int
    begun_at: float | None = None
    forward_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Ran(Generic[Item, Result]):
    """Texts that ran, or could not: one result or error for each."""

    entries: list[tuple[_Request[Item, Result], int]]
    results: Sequence[Result | BaseException]
    begun_at: float
    forward_s: float = 0.0


class Batcher(Generic[Item, Result]):
    """Runs `forward` in threads of its own, on batches formed from what waits.

    Args:
        forward: answers a batch; one result per item, in their order. The second argument is whether the
            batch has the device to itself. Called by as many threads as there are lanes.
        limits: the bounds.
        lanes: number of batches that may run side by side.
        niceness: increment of the lanes' niceness over the other threads of the process, as of nice(1).
        probe: an item that the model is known to take: shows whether a text or the device is at fault.
        clock: the clock of deadlines and durations.
    """

    def __init__(
        self,
        forward: Callable[[Sequence[Item], bool], Sequence[Result]],
        limits: BatchLimits,
        *,
        lanes: int = 1,
        niceness: int = 0,
        probe: Item | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._forward = forward
        self._niceness = niceness
        self._limits = limits
        self._probe = probe
        self._clock = clock
        self._wake = threading.Condition()
        # All below: read and written with `_wake` held.
        self._scheduler: BatchScheduler[_Request[Item, Result]] = BatchScheduler(limits, lanes)
        self._closed = False
        self._failure: BaseException | None = None  # of the device, at the latest batch
        self._death: BaseException | None = None  # of a thread
        self._threads = [
            threading.Thread(target=self._serve_device, args=(lane,), name=f"device-{lane}", daemon=True)
            for lane in range(lanes)
        ]
        for thread in self._threads:
            thread.start()

    def check_room(self, *, tenant: str = "", priority: Priority | None = None, max_tokens: int = 1) -> None:
        """Refuse now what would be refused after tokenising: a request of a single token.

        Args:
            tenant: of the request, as in `submit`.
            priority: class of the request; None for that of its size.
            max_tokens: that the request may have.

        Raises:
            QueueFull: a bound is reached; carries the computed seconds after which to try again.
            NotReady: the batcher is closed.
        """
        with self._wake:
            priority = priority or self._scheduler.priority_of(max_tokens)
            self._check_room(tenant, priority, items=1, tokens=1)

    async def submit(
        self,
        items: Sequence[Item],
        *,
        deadline: float | None = None,
        tenant: str = "",
        priority: Priority | None = None,
    ) -> Answer[Result]:
        """Wait for the results of one request.

        Cancelling the call takes what still waits out of the queue.

        Args:
            items: at least one.
            deadline: moment on the batcher's clock after which nobody waits any more; None for no end.
            tenant: whose request it is; the requests of a tenant share turns. "" is nobody in particular.
            priority: class of the request; None for that of its size: interactive if it fits into one batch.

        Returns:
            One result per item, in their order, and where the time went.

        Raises:
            QueueFull: no room; nothing was queued.
            TooLarge: more texts or tokens than the queue holds.
            DeadlineExceeded: the deadline passed first.
            UnprocessableTextError: the model fails on one of the items.
            ModelFailure: the device failed.
            NotReady: the batcher was closed.
        """
        now = self._clock()
        if deadline is not None and deadline <= now:
            raise DeadlineExceeded("the deadline had passed before the request reached the queue")
        request: _Request[Item, Result] = _Request(
            items=items,
            tenant=tenant,
            deadline=deadline,
            future=asyncio.get_running_loop().create_future(),
            results=[None] * len(items),
            missing=len(items),
        )
        priority = self._join(request, priority, now)
        try:
            async with asyncio.timeout(None if deadline is None else deadline - now):
                await request.future
        except TimeoutError as error:
            raise DeadlineExceeded(f"no answer within {1000 * (self._clock() - now):.0f} ms") from error
        finally:
            if request.missing:
                with self._wake:
                    self._scheduler.drop(request, priority)
                    self._wake.notify_all()  # there may be nothing left to wait for
        assert request.begun_at is not None
        results = cast("list[Result]", request.results)  # complete, or the future would not be done
        return Answer(results, queue_s=request.begun_at - now, forward_s=request.forward_s)

    def check_health(self) -> None:
        """Check that the device answers.

        Raises:
            ModelFailure: the latest batch failed and no retry cleared it, a device thread has died, or a
                batch
                has been running for over a minute.
        """
        with self._wake:
            death, failure, running = self._death, self._failure, self._scheduler.running
        if death is not None:
            raise ModelFailure(f"a device thread has died: {death!r}") from death
        if failure is not None:
            raise ModelFailure(f"the latest batch failed, and so did its retries: {failure!r}") from failure
        longest_s = max((self._clock() - batch.begun_at for batch in running), default=0.0)
        if longest_s > _STUCK_AFTER_S:
            raise ModelFailure(f"a batch has been running for {longest_s:.0f} s")

    @property
    def waiting_items(self) -> int:
        """Texts in the queues."""
        return self._scheduler.waiting_items

    @property
    def ahead_s(self) -> float:
        """Expected seconds until the device is done with all that waits and runs."""
        with self._wake:
            return self._scheduler.ahead_s(self._clock())

    @property
    def capacity_tokens_per_s(self) -> float:
        """Tokens a second of a device that never lacks work; 0 before that is known."""
        with self._wake:
            return self._scheduler.capacity_tokens_per_s

    async def close(self) -> None:
        """Take no more requests, answer those that wait, end the threads."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _join(self, request: _Request[Item, Result], priority: Priority | None, now: float) -> Priority:
        """Queue a request, or raise; return its class."""
        limits, count = self._limits, len(request.items)
        tokens = sum(item.tokens for item in request.items)
        if count > limits.max_queue_items or tokens > limits.max_queue_tokens:
            raise TooLarge(
                f"{count} texts of {tokens} tokens; the queue holds {limits.max_queue_items} texts and "
                f"{limits.max_queue_tokens} tokens (max_queue_items, max_queue_tokens); send less at a time"
            )
        with self._wake:
            priority = priority or self._scheduler.priority_of(tokens)
            self._check_room(request.tenant, priority, count, tokens)
            self._scheduler.push(request, priority, now)
            self._wake.notify_all()
        return priority

    def _check_room(self, tenant: str, priority: Priority, items: int, tokens: int) -> None:
        if self._closed:
            raise NotReady("this model is being replaced or shut down; send the request again")
        self._scheduler.check_room(tenant, priority, items=items, tokens=tokens, now=self._clock())

    def _serve_device(self, lane: int) -> None:
        """A thread of the device: batch after batch until closed."""
        try:
            raise_niceness(self._niceness)
            while batch := self._take(lane):
                self._run(lane, batch)
        except BaseException as error:  # the thread must not leave callers hanging, whatever ended it
            with self._wake:
                self._death, self._closed = error, True
                left = [
                    (request, index)
                    for request in self._scheduler.drain()
                    for index in range(request.next_index, len(request.items))
                ]
                self._wake.notify_all()
            _hand_over(_Ran(left, [error] * len(left), self._clock()))
            raise

    def _take(self, lane: int) -> Batch[_Request[Item, Result]] | None:
        """Wait for work and begin a batch; None when closed and done."""
        with self._wake:
            while True:
                if batch := self._scheduler.begin(lane, self._clock()):
                    if self.waiting_items:
                        self._wake.notify_all()  # there is work for a lane beside this one
                    return batch
                if self._closed and not self.waiting_items:
                    self._wake.notify_all()  # the other lanes have nothing to wait for either
                    return None
                self._wake.wait()

    def _run(self, lane: int, batch: Batch[_Request[Item, Result]]) -> None:
        def forward(items: Sequence[Item]) -> Sequence[Result]:
            results = self._forward(items, batch.is_alone)
            if len(results) != len(items):
                raise _MiscountError(f"forward gave {len(results)} results for {len(items)} texts")
            return results

        items = [request.items[index] for request, index in batch.entries]
        results: Sequence[Result | BaseException]
        first_error: BaseException | None = None
        device_error: BaseException | None = None
        try:
            results = forward(items)
        except _MiscountError as error:
            first_error = device_error = error
            results = [error] * len(items)
        except Exception as error:
            first_error = error
            owners = [request for request, _ in batch.entries]
            results, device_error = isolate(forward, items, owners, error, self._probe)
        except BaseException as error:  # the thread was told to end: its callers must not wait for it
            first_error = device_error = error
            results = [error] * len(items)
        with self._wake:
            now = self._clock()
            self._scheduler.end(lane, now, is_measured=first_error is None)
            self._failure = device_error
            for (request, _), result in zip(batch.entries, results, strict=True):
                if isinstance(result, BaseException):
                    self._scheduler.drop(request, batch.priority)
            self._wake.notify_all()  # those that waited for a batch alone, or for the last one before the end
        if device_error is None and first_error is not None:
            results = [
                _rejection(result, index) if isinstance(result, Exception) else result
                for (_, index), result in zip(batch.entries, results, strict=True)
            ]
        _hand_over(_Ran(batch.entries, results, batch.begun_at, now - batch.begun_at))
        if device_error is not None and not isinstance(device_error, Exception):
            raise device_error


class _MiscountError(Exception):
    """The forward gave another number of results than of texts: no retry tells which is whose."""


def _hand_over(ran: _Ran[Item, Result]) -> None:
    """Give a batch's outcome to the event loop, which owns the requests."""
    if not ran.entries:
        return
    loop = ran.entries[0][0].future.get_loop()
    # A closed loop has nobody left who could wait for the answer.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(_settle, ran)


def _settle(ran: _Ran[Item, Result]) -> None:
    """In the event loop: each result to its own request, and wake those that are complete or have failed."""
    for request in dict.fromkeys(request for request, _ in ran.entries):
        request.forward_s += ran.forward_s
        request.begun_at = min(ran.begun_at, request.begun_at or ran.begun_at)
    for (request, index), result in zip(ran.entries, ran.results, strict=True):
        if request.future.done():
            continue
        if isinstance(result, BaseException):
            request.future.set_exception(_as_service_error(result))
            continue
        request.results[index] = result
        request.missing -= 1
        if request.missing == 0:
            request.future.set_result(None)


def _rejection(error: Exception, index: int) -> ServiceError:
    """The error of a text that fails by itself while others do not."""
    if isinstance(error, ServiceError):
        return error
    rejection = UnprocessableTextError(f"the model cannot take this text: {type(error).__name__}", index)
    rejection.__cause__ = error
    return rejection


def _as_service_error(failure: BaseException) -> ServiceError:
    if isinstance(failure, ServiceError):
        return failure
    error = ModelFailure(f"the model failed on a batch with this request's text: {type(failure).__name__}")
    error.__cause__ = failure
    return error
