"""The dynamic batcher: a bounded first-in-first-out queue in front of one device.

    submit ──> queue (bounded: see `admission`) ──> lanes, threads of the device: take a batch, forward
       ^                                                                     │
       └────────── results, each to its own request <── event loop <─────────┘

A batch is formed when a lane is free, never sealed earlier: whatever waits then goes, oldest first, up to
the token budget. There is no timer, so an idle device starts at once, and a busy one finds a full batch when
it is done. What was cancelled or is past its deadline is left out as the batch is formed. A lane takes its
next batch itself; it never waits for the event loop.

A GPU has one lane. The cores of a CPU are shared out among several: batches that run side by side, a core
each, do not wait for one another after every step as the threads of one batch do when the event loop takes
one of them its core. A batch that has the device to itself is given all the cores.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, cast

from serve_app.batching.admission import Admission, BatchLimits, DeviceRate
from serve_app.errors import DeadlineExceeded, ModelFailure, NotReady, ServiceError

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
class _Batch(Generic[Item, Result]):
    """What a lane runs at once; `alone` if the others stand still meanwhile; `full` as in `DeviceRate`."""

    entries: list[_Entry[Item, Result]]
    tokens: int
    begun_at: float
    alone: bool
    full: bool


@dataclass(frozen=True, slots=True)
class _Ran(Generic[Item, Result]):
    """Entries that ran, or could not: results, one an entry, or the failure."""

    entries: list[_Entry[Item, Result]]
    results: Sequence[Result] | None
    failure: BaseException | None
    begun_at: float
    forward_s: float = 0.0


class Batcher(Generic[Item, Result]):
    """Runs `forward` in threads of its own, on batches formed from what waits.

    Args:
        forward: answers a batch; one result an item, in their order. Told whether the batch has the device to
            itself. Called by as many threads as there are lanes.
        limits: the bounds.
        lanes: how many batches may run side by side.
        niceness: by how much the lanes' threads go after the others of the process, as of nice(1).
        clock: the clock of deadlines and durations.
    """

    def __init__(
        self,
        forward: Callable[[Sequence[Item], bool], Sequence[Result]],
        limits: BatchLimits,
        *,
        lanes: int = 1,
        niceness: int = 0,
        clock: Clock = time.monotonic,
    ) -> None:
        self._forward = forward
        self._niceness = niceness
        self._limits = limits
        self._clock = clock
        self._wake = threading.Condition()
        # All below: read and written with `_wake` held.
        self._queue: deque[_Entry[Item, Result]] = deque()
        self._queued_tokens = 0
        self._running: dict[int, _Batch[Item, Result]] = {}  # by lane
        self._admission = Admission(limits)
        self._rate = DeviceRate()
        self._measured_at = 0.0
        self._closed = False
        self._failure: BaseException | None = None  # of the latest batch
        self._death: BaseException | None = None  # of a thread
        self._threads = [
            threading.Thread(target=self._serve_device, args=(lane,), name=f"device-{lane}", daemon=True)
            for lane in range(lanes)
        ]
        for thread in self._threads:
            thread.start()

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
            self._admission.joined()
            self._queue.extend(_Entry(request, index, item) for index, item in enumerate(items))
            self._queued_tokens += tokens
            self._wake.notify_all()
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
            ModelFailure: the latest batch failed, a device thread has died, or a batch has been running for
                over a minute.
        """
        with self._wake:
            death, failure, running = self._death, self._failure, list(self._running.values())
        if death is not None:
            raise ModelFailure(f"a device thread has died: {death!r}") from death
        if failure is not None:
            raise ModelFailure(f"the latest batch failed: {failure!r}") from failure
        longest_s = max((self._clock() - batch.begun_at for batch in running), default=0.0)
        if longest_s > _STUCK_AFTER_S:
            raise ModelFailure(f"a batch has been running for {longest_s:.0f} s")

    @property
    def waiting_items(self) -> int:
        """Texts in the queue."""
        return len(self._queue)

    @property
    def ahead_s(self) -> float:
        """Seconds, expected from the measured rate, until the device is done with all that waits and runs."""
        with self._wake:
            running_tokens = sum(batch.tokens for batch in self._running.values())
            return self._rate.seconds_for(self._queued_tokens + running_tokens)

    @property
    def capacity_tokens_per_s(self) -> float:
        """Tokens a second of a device that never lacks work; see `DeviceRate`."""
        with self._wake:
            return self._rate.capacity_tokens_per_s

    async def close(self) -> None:
        """Take no more requests, answer those that wait, end the threads."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _check_room(self, items: int, tokens: int) -> None:
        if self._closed:
            raise NotReady("this model is being replaced or shut down; send the request again")
        self._admission.check_room(
            items=items,
            tokens=tokens,
            waiting=len(self._queue),
            waiting_tokens=self._queued_tokens,
            ahead_s=self.ahead_s,
            now=self._clock(),
        )

    def _serve_device(self, lane: int) -> None:
        """A thread of the device: batch after batch until closed."""
        try:
            if self._niceness:
                thread = threading.get_native_id()
                os.setpriority(
                    os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + self._niceness
                )
            while batch := self._take(lane):
                self._run(lane, batch)
        except BaseException as error:  # the thread must not leave callers hanging, whatever ended it
            with self._wake:
                self._death, self._closed = error, True
                left = list(self._queue)
                self._queue.clear()
                self._wake.notify_all()
            _hand_over(_Ran(left, None, error, self._clock()))
            raise

    def _take(self, lane: int) -> _Batch[Item, Result] | None:
        """Wait for work and begin a batch of the oldest; None when closed and done."""
        with self._wake:
            while True:
                if self._may_begin(lane) and (entries := self._form_batch()):
                    return self._begin(lane, entries)
                if self._closed and not self._queue:
                    return None
                self._wake.wait()

    def _may_begin(self, lane: int) -> bool:
        """The first lane goes first, and the others only beside it: so it alone ever has the whole device."""
        if any(batch.alone for batch in self._running.values()):
            return False
        return lane == 0 or 0 in self._running

    def _begin(self, lane: int, entries: list[_Entry[Item, Result]]) -> _Batch[Item, Result]:
        now = self._clock()
        if not self._running:
            self._measured_at = now
        tokens = sum(entry.item.tokens for entry in entries)
        alone = not self._running and not self._queue
        full = bool(self._queue) or tokens > self._limits.max_batch_tokens / 2
        batch = _Batch(entries, tokens, now, alone, full)
        self._running[lane] = batch
        if self._queue:
            self._wake.notify_all()  # there is work for a lane beside this one
        return batch

    def _form_batch(self) -> list[_Entry[Item, Result]]:
        batch: list[_Entry[Item, Result]] = []
        tokens, now, max_tokens = 0, self._clock(), self._admission.max_batch_tokens
        while self._queue and len(batch) < self._limits.max_batch_items:
            entry = self._queue[0]
            size, deadline = entry.item.tokens, entry.request.deadline
            wanted = not entry.request.gone and (deadline is None or deadline > now)
            if wanted and batch and tokens + size > max_tokens:
                break
            self._queue.popleft()
            self._queued_tokens -= size
            if wanted:
                batch.append(entry)
                tokens += size
        return batch

    def _run(self, lane: int, batch: _Batch[Item, Result]) -> None:
        results: Sequence[Result] | None = None
        failure: BaseException | None = None
        try:
            results = self._forward([entry.item for entry in batch.entries], batch.alone)
            if len(results) != len(batch.entries):
                raise ValueError(f"forward gave {len(results)} results for {len(batch.entries)} texts")
        except BaseException as error:  # any: this batch's callers must hear of it
            results, failure = None, error
        now = self._clock()
        with self._wake:
            del self._running[lane]
            self._failure = failure
            if failure is None:
                self._rate.observe(batch.tokens, now - self._measured_at, full=batch.full)
            self._measured_at = now
            self._wake.notify_all()  # those that waited for a batch alone, or for the last one before the end
        _hand_over(_Ran(batch.entries, results, failure, batch.begun_at, now - batch.begun_at))
        if failure is not None and not isinstance(failure, Exception):
            raise failure  # the thread was told to end


def _hand_over(ran: _Ran[Item, Result]) -> None:
    """Give a batch's outcome to the event loop, which owns the requests."""
    if not ran.entries:
        return
    loop = ran.entries[0].request.future.get_loop()
    # A closed loop has nobody left who could wait for the answer.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(_settle, ran)


def _settle(ran: _Ran[Item, Result]) -> None:
    """In the event loop: each result to its own request, and wake those that are complete."""
    for request in dict.fromkeys(entry.request for entry in ran.entries):
        request.forward_s += ran.forward_s
        request.begun_at = min(ran.begun_at, request.begun_at or ran.begun_at)
        if ran.failure is not None and not request.future.done():
            request.future.set_exception(_as_model_failure(ran.failure))
    if ran.results is None:
        return
    for entry, result in zip(ran.entries, ran.results, strict=True):
        request = entry.request
        request.results[entry.index] = result
        request.missing -= 1
        if request.missing == 0 and not request.future.done():
            request.future.set_result(None)


def _as_model_failure(failure: BaseException) -> ServiceError:
    error = ModelFailure(f"the model failed on a batch with this request's text: {type(failure).__name__}")
    error.__cause__ = failure
    return error
