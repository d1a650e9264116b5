"""Dynamic batcher: bounded queues in front of one device.

    submit ──> queues (`scheduler`) ──> lanes, threads of the device: take a batch, forward
       ^                                                        │
       └────── results, each to its own request <── event loop <┘

A batch is formed when a lane becomes free, from the texts that are queued at that moment, up to the token
budget. There is no timer: an idle device starts immediately, and a busy device finds a full batch when it is
done. Requests that are cancelled or past their deadline leave the queue immediately. A lane takes its next
batch itself, without waiting for the event loop.

A GPU has one lane. The cores of a CPU are divided among several lanes: parallel batches with one core each do
not wait for one another after every step, unlike the threads of one batch when the event loop takes the core
of one of them. A batch that is alone on the device uses all cores if it is large enough for that to pay.

A batch on which the model fails runs again in parts, so that only requests fail whose own texts fail; see
`isolation`.
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
from serve_app.batching.fair_queue import QueuedRequest, SizedText
from serve_app.batching.isolation import isolate
from serve_app.batching.niceness import raise_niceness
from serve_app.batching.scheduler import Batch, BatchScheduler
from serve_app.errors import (
    DeadlineExceededError,
    ModelFailureError,
    NotReadyError,
    PayloadTooLargeError,
    ServiceError,
    UnprocessableTextError,
)

Clock = Callable[[], float]
"""Returns seconds of a monotonic clock, as time.monotonic."""

_STUCK_AFTER_S = 60.0

Item = TypeVar("Item", bound=SizedText)
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Answer(Generic[Result]):
    """Results of one request, in the order of its items, with times.

    Attributes:
        results: One result per text.
        queue_s: Seconds from joining the queue until the first of its batches began.
        forward_s: Sum of the forward passes of all its batches, in seconds.
    """

    results: list[Result]
    queue_s: float
    forward_s: float


@dataclass(slots=True, eq=False, kw_only=True)
class _PendingRequest(QueuedRequest[Item], Generic[Item, Result]):
    """Texts of a request with their results. Only the event loop uses it, except `QueuedRequest`'s fields."""

    future: asyncio.Future[None]
    results: list[Result | None]
    missing: int
    begun_at: float | None = None
    forward_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Ran(Generic[Item, Result]):
    """Texts of a batch that has run, with one result or error for each."""

    entries: list[tuple[_PendingRequest[Item, Result], int]]
    results: Sequence[Result | BaseException]
    begun_at: float
    forward_s: float = 0.0


class Batcher(Generic[Item, Result]):
    """Runs `forward` in its own threads, on batches of the queued texts.

    Args:
        forward: Computes a batch: one result per item, in their order. The second argument is whether the
            batch is alone on the device. Each lane's thread calls it.
        limits: Limits of the queue and of a batch.
        lanes: Number of batches that may run in parallel.
        min_parallel_tokens: See `BatchScheduler`.
        niceness: Increment of the lanes' niceness over the other threads of the process, as for nice(1).
        probe: Item on which the model is known to succeed; it shows whether a text or the device is at fault.
        clock: Clock of deadlines and durations.
    """

    def __init__(
        self,
        forward: Callable[[Sequence[Item], bool], Sequence[Result]],
        limits: BatchLimits,
        *,
        lanes: int = 1,
        min_parallel_tokens: float = 0.0,
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
        # The attributes below are read and written with `_wake` held.
        self._scheduler: BatchScheduler[_PendingRequest[Item, Result]] = BatchScheduler(
            limits, lanes, min_parallel_tokens
        )
        self._closed = False
        self._failure: BaseException | None = None  # error of the device in the latest batch
        self._death: BaseException | None = None  # error that ended a thread
        self._threads = [
            threading.Thread(target=self._serve_device, args=(lane,), name=f"device-{lane}", daemon=True)
            for lane in range(lanes)
        ]
        for thread in self._threads:
            thread.start()

    def check_room(self, *, tenant: str = "", priority: Priority | None = None, max_tokens: int = 1) -> None:
        """Raise if even a request with a single token would be refused after tokenisation.

        Args:
            tenant: Tenant of the request, as in `submit`.
            priority: Class of the request; None derives it from `max_tokens`.
            max_tokens: Maximum number of tokens that the request may have.

        Raises:
            QueueFullError: A limit is reached; holds the computed seconds until a retry.
            NotReadyError: The batcher is closed.
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
        """Queue a request and wait for its results.

        Cancelling the call removes the request's remaining texts from the queue.

        Args:
            items: At least one item.
            deadline: Time on the batcher's clock after which the result is not needed; None for no deadline.
            tenant: Sender of the request; the requests of a tenant share turns. "" for requests without one.
            priority: Class of the request; None derives it from the size: interactive if it fits into one
                batch.

        Returns:
            One result per item, in their order, with times.

        Raises:
            QueueFullError: The queue is full; nothing was queued.
            PayloadTooLargeError: The request has more texts or tokens than the queue can hold.
            DeadlineExceededError: The deadline passed.
            UnprocessableTextError: The model fails on one of the items.
            ModelFailureError: The device failed.
            NotReadyError: The batcher is closed.
        """
        now = self._clock()
        if deadline is not None and deadline <= now:
            raise DeadlineExceededError("the deadline had passed before the request reached the queue")
        request: _PendingRequest[Item, Result] = _PendingRequest(
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
            raise DeadlineExceededError(f"no answer within {1000 * (self._clock() - now):.0f} ms") from error
        finally:
            if request.missing:
                with self._wake:
                    self._scheduler.drop(request, priority)
                    self._wake.notify_all()  # a closing batcher may be empty now
        assert request.begun_at is not None
        results = cast("list[Result]", request.results)  # complete, because the future is done
        return Answer(results, queue_s=request.begun_at - now, forward_s=request.forward_s)

    def check_health(self) -> None:
        """Check that the device works.

        Raises:
            ModelFailureError: The latest batch and its retries failed, a device thread has died, or a batch
                has been running for over a minute.
        """
        with self._wake:
            death, failure, running = self._death, self._failure, self._scheduler.running
        if death is not None:
            raise ModelFailureError(f"a device thread has died: {death!r}") from death
        if failure is not None:
            raise ModelFailureError(f"the latest batch and its retries failed: {failure!r}") from failure
        longest_s = max((self._clock() - batch.begun_at for batch in running), default=0.0)
        if longest_s > _STUCK_AFTER_S:
            raise ModelFailureError(
                f"a batch has been running for {longest_s:.0f} s; expected at most {_STUCK_AFTER_S:.0f} s"
            )

    @property
    def waiting_items(self) -> int:
        """Number of queued texts."""
        return self._scheduler.waiting_items

    @property
    def backlog_s(self) -> float:
        """Backlog: expected seconds until all queued and running texts are done."""
        with self._wake:
            return self._scheduler.backlog_s(self._clock())

    @property
    def capacity_tokens_per_s(self) -> float:
        """Throughput in tokens per second of a device that always has work; 0 while it is unknown."""
        with self._wake:
            return self._scheduler.capacity_tokens_per_s

    async def close(self) -> None:
        """Accept no more requests, answer the queued ones, and stop the threads."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _join(
        self, request: _PendingRequest[Item, Result], priority: Priority | None, now: float
    ) -> Priority:
        """Queue a request, or raise; return its class."""
        limits, count = self._limits, len(request.items)
        tokens = sum(item.tokens for item in request.items)
        if count > limits.max_queue_items or tokens > limits.max_queue_tokens:
            raise PayloadTooLargeError(
                f"{count} texts with {tokens} tokens; the queue holds at most {limits.max_queue_items} texts "
                f"and {limits.max_queue_tokens} tokens (max_queue_items, max_queue_tokens); send fewer per "
                "request"
            )
        with self._wake:
            priority = priority or self._scheduler.priority_of(tokens)
            self._check_room(request.tenant, priority, count, tokens)
            self._scheduler.push(request, priority, now)
            self._wake.notify_all()
        return priority

    def _check_room(self, tenant: str, priority: Priority, items: int, tokens: int) -> None:
        if self._closed:
            raise NotReadyError("this model is being replaced or shut down; send the request again")
        self._scheduler.check_room(tenant, priority, items=items, tokens=tokens, now=self._clock())

    def _serve_device(self, lane: int) -> None:
        """Run batches in a device thread until the batcher is closed."""
        try:
            raise_niceness(self._niceness)
            while batch := self._take(lane):
                self._run(lane, batch)
        except BaseException as error:  # callers must not wait for a thread that has ended
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

    def _take(self, lane: int) -> Batch[_PendingRequest[Item, Result]] | None:
        """Wait for work and begin a batch; return None when closed and empty."""
        with self._wake:
            while True:
                if batch := self._scheduler.begin(lane, self._clock()):
                    if self.waiting_items:
                        self._wake.notify_all()  # there is work for another lane
                    return batch
                if self._closed and not self.waiting_items:
                    self._wake.notify_all()  # the other lanes can stop too
                    return None
                self._wake.wait()

    def _run(self, lane: int, batch: Batch[_PendingRequest[Item, Result]]) -> None:
        def forward(items: Sequence[Item]) -> Sequence[Result]:
            results = self._forward(items, batch.is_alone)
            if len(results) != len(items):
                raise _MiscountError(f"forward returned {len(results)} results for {len(items)} texts")
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
        except BaseException as error:  # the thread is ending, so its callers must not wait for it
            first_error = device_error = error
            results = [error] * len(items)
        with self._wake:
            now = self._clock()
            self._scheduler.end(lane, now, is_measured=first_error is None)
            self._failure = device_error
            for (request, _), result in zip(batch.entries, results, strict=True):
                if isinstance(result, BaseException):
                    self._scheduler.drop(request, batch.priority)
            self._wake.notify_all()  # lanes may wait for this batch: if it was alone, or the last one
        if device_error is None and first_error is not None:
            results = [
                _rejection(result, index) if isinstance(result, Exception) else result
                for (_, index), result in zip(batch.entries, results, strict=True)
            ]
        _hand_over(_Ran(batch.entries, results, batch.begun_at, now - batch.begun_at))
        if device_error is not None and not isinstance(device_error, Exception):
            raise device_error


class _MiscountError(Exception):
    """The forward pass returned a wrong number of results, so that they cannot be assigned to texts."""


def _hand_over(ran: _Ran[Item, Result]) -> None:
    """Pass the results of a batch to the event loop, which owns the requests."""
    if not ran.entries:
        return
    loop = ran.entries[0][0].future.get_loop()
    # If the loop is closed, no caller waits for the result.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(_settle, ran)


def _settle(ran: _Ran[Item, Result]) -> None:
    """Assign the results to their requests, in the event loop; wake requests that are complete or failed."""
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
    """Return the error of a text that fails while other texts do not."""
    if isinstance(error, ServiceError):
        return error
    rejection = UnprocessableTextError(f"the model cannot process this text: {type(error).__name__}", index)
    rejection.__cause__ = error
    return rejection


def _as_service_error(failure: BaseException) -> ServiceError:
    if isinstance(failure, ServiceError):
        return failure
    error = ModelFailureError(
        f"the model failed on a batch with this request's text: {type(failure).__name__}"
    )
    error.__cause__ = failure
    return error
