"""Client that sends requests continuously and records their outcomes."""

from __future__ import annotations

import threading
import time

import httpx

_PATIENCE_S = 60


class Client:
    """Client that sends GET requests continuously from a thread.

    Attributes:
        longest_s: longest time without an answer of status 200, in seconds.
        answers: number of answers with status 200.
        statuses: all other statuses, in order; 0 for a request without an answer.
    """

    def __init__(self, url: str) -> None:
        self.longest_s, self.answers = 0.0, 0
        self.statuses: list[int] = []
        self._url, self._over = url, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Client:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        last = time.monotonic()
        while not self._over.wait(0.01):
            try:
                answer = httpx.get(self._url, timeout=_PATIENCE_S)
            except httpx.TransportError:
                self.statuses.append(0)
                continue
            if answer.status_code != 200:
                self.statuses.append(answer.status_code)
                continue
            now = time.monotonic()
            self.longest_s, last = max(self.longest_s, now - last), now
            self.answers += 1
