"""Open-loop traffic: small requests at a fixed rate, independent of the service, with a record of each."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import uvloop

from benchmarks.http import Connection, HttpResponse

TIMEOUT_S = 30.0
"""Timeout of a client in seconds: the service's own default deadline."""
MAX_OPEN = 1000
"""Maximum number of open requests of one stream; further ones are recorded as "not sent"."""
OK, REFUSED, NOT_SENT = "200", "429", "not sent"
WRONG_ANSWER = "wrong answer"


@dataclass(slots=True)
class RecordedRequest:
    """Record of one request. Times are seconds of `time.monotonic`.

    Attributes:
        due: scheduled time; the latency counts from here.
        sent: time at which it was sent.
        done: time at which it was answered or failed; None while it is open.
        outcome: status code, name of the client's error, or `WRONG_ANSWER`; empty while it is open.
        request_id: request id in the answer; empty without an answer.
    """

    due: float
    sent: float
    done: float | None = None
    outcome: str = ""
    request_id: str = ""

    @property
    def latency_s(self) -> float:
        """Return the seconds from the scheduled time to the answer; infinite while the request is open."""
        return float("inf") if self.done is None else self.done - self.due

    def in_flight(self, at: float) -> bool:
        """Return whether the request was sent and not yet answered at a time."""
        return self.sent <= at and (self.done is None or self.done > at)


class RequestStream:
    """Stream of requests from a separate thread, while the block runs.

    Args:
        url: address of the service.
        texts: texts that are sent in turn, one per request. If the label of a text changes, the answer is
            wrong.
        per_s: requests per second.
    """

    def __init__(self, url: str, texts: Sequence[str], per_s: float) -> None:
        self.requests: list[RecordedRequest] = []
        self._url, self._texts, self._per_s = url, texts, per_s
        self._labels: dict[str, str] = {}
        self._idle: list[Connection] = []
        self._open = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop sending, and wait until every request is answered or has timed out."""
        self._stopping.set()
        self._thread.join(TIMEOUT_S + 10)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._send_all())

    async def _send_all(self) -> None:
        began = time.monotonic()
        tasks: set[asyncio.Task[None]] = set()
        texts = itertools.cycle(self._texts)
        for number in itertools.count():
            due = began + number / self._per_s
            # When it is late it sends immediately, but it must still read answers regularly.
            if (wait_s := due - time.monotonic()) > 0 or number % 20 == 0:
                await asyncio.sleep(max(0, wait_s))
            if self._stopping.is_set():
                break
            task = asyncio.create_task(self._ask(due, next(texts)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
        for connection in self._idle:
            connection.close()

    async def _ask(self, due: float, text: str) -> None:
        request = RecordedRequest(due, time.monotonic())
        self.requests.append(request)
        if self._open >= MAX_OPEN:
            request.outcome, request.done = NOT_SENT, request.sent
            return
        self._open += 1
        connection = self._idle.pop() if self._idle else Connection(self._url)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                answer = await connection.classify(text)
            request.done = time.monotonic()
            request.outcome = self._judged(text, answer)
            request.request_id = answer.header("x-request-id")
            self._idle.append(connection)
        except (OSError, TimeoutError) as error:
            request.done = time.monotonic()
            request.outcome = "timeout" if isinstance(error, TimeoutError) else type(error).__name__
            connection.close()
        finally:
            self._open -= 1

    def _judged(self, text: str, answer: HttpResponse) -> str:
        if answer.status != 200:
            return str(answer.status)
        label: str = answer.json()["results"][0]["label"]
        return OK if self._labels.setdefault(text, label) == label else WRONG_ANSWER
