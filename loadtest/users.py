"""Locust user that represents all callers of one pod.

Open-loop: the user follows its schedule and starts a greenlet for each request when it is due, regardless of
whether earlier ones were answered. Latency counts from the due time, so it includes the delay of a late load
generator.
"""

import itertools
import random
import time
import uuid
from collections.abc import Iterator
from typing import Any, ClassVar

import gevent
from gevent.pool import Pool
from locust.contrib.fasthttp import FastHttpUser
from locust.exception import StopTest

from loadtest.config import LoadTestConfig
from loadtest.errors import UnauthorizedHostError
from loadtest.request_log import RequestLog
from loadtest.response_check import ResponseCheck, check_refusal, check_response
from loadtest.results import Sample
from loadtest.schedule import arrivals, in_flight_bound
from loadtest.target import require_authorized_host

PATH = "/v1/classify"


class PodUser(FastHttpUser):  # type: ignore[misc]  # locust is not followed by mypy
    """All callers of one pod, on that pod's share of the schedule: there are as many users as pods.

    `loadtest.slo_evaluator` sets the class attributes when a test starts, before any user is created.

    Attributes:
        config: What to send and when.
        request_log: Record of every request.
        pods: Iterator that numbers the users, from 0.
    """

    config: ClassVar[LoadTestConfig]
    request_log: ClassVar[RequestLog]
    pods: ClassVar[Iterator[int]]

    def __init__(self, environment: Any) -> None:
        try:
            require_authorized_host(str(self.host), self.config.owned)
        except UnauthorizedHostError as error:  # the host can be changed on the web page
            raise StopTest(str(error)) from error
        self.concurrency = in_flight_bound(self.config.pace, self.config.timeout_s)
        super().__init__(environment)
        # the load must stay on the given host
        self.client.client.redirect_response_codes = frozenset()

    def on_start(self) -> None:
        """Start this pod's schedule now."""
        pod = next(self.pods)
        self._start_s = time.monotonic()
        self._schedule = arrivals(self.config.pace, pod)
        texts = self.config.texts
        self._texts = itertools.cycle(
            random.Random(f"{self.config.pace.seed}/{pod}").sample(texts, len(texts))
        )
        self._waiting = Pool(self.concurrency)

    def offer(self) -> None:
        """Wait until the next request is due, and send it without waiting for its answer."""
        due_s = self._start_s + next(self._schedule)
        gevent.sleep(max(0.0, due_s - time.monotonic()))
        self.request_log.sent(due_s)
        self._waiting.spawn(self._classify, due_s, next(self._texts))

    def on_stop(self) -> None:
        """Record due requests that were not sent, and wait for the answer or timeout of the open ones."""
        elapsed_s = time.monotonic() - self._start_s
        for due_s in itertools.takewhile(lambda due_s: due_s < elapsed_s, self._schedule):
            self.request_log.unsent(self._start_s + due_s)
        self._waiting.join(timeout=self.config.timeout_s + 1)

    tasks: ClassVar = [offer]

    def _classify(self, due_s: float, text: str) -> None:
        request_id = uuid.uuid4().hex
        sent_s = time.monotonic()
        # timeout of the entire exchange; the client has only a timeout for each read
        with gevent.Timeout(self.config.timeout_s):
            response = self.client.post(
                PATH,
                json={"inputs": text, "top_k": 1},
                headers={"X-Request-ID": request_id, **self.config.headers},
                catch_response=True,
            )
        done_s = time.monotonic()
        with response:
            answer = _answer(response, request_id)
            self.request_log.finished(Sample(due_s, sent_s, done_s, answer))
            response.request_meta["response_time"] = (done_s - due_s) * 1000
            if answer.failure is None:
                response.success()
            else:
                response.failure(answer.failure)


def _answer(response: Any, request_id: str) -> ResponseCheck:
    """Evaluate one response of Locust's client, which stores transport errors as its exception."""
    headers = {name.lower(): value for name, value in (response.headers or {}).items()}
    if response.status_code not in (0, 200):
        return check_refusal(response.status_code, headers)
    error = response.request_meta["exception"]
    if error is None:
        return check_response(response.content, headers, request_id, texts=1)
    error = getattr(error, "original", error)  # the client wraps some without a retry
    if isinstance(error, gevent.Timeout | TimeoutError):
        return ResponseCheck("timeout")
    return ResponseCheck(f"connection: {type(error).__name__}")
