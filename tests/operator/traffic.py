"""Steady requests to a Service, with the outcome of each."""

from __future__ import annotations

import http.client
import itertools
import json
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from cluster.kuberay.client.resources import ResourceKind
from examples.canary_rollout.models import TEXTS
from tests.operator.cluster import Cluster

SERVE_PORT = 8000
NO_ENDPOINT = "no endpoint"
_ENDPOINT_SLICE = ResourceKind("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")
_FOLLOW_S = 0.25
_TIMEOUT_S = 30
_CALLERS = 64


@dataclass(frozen=True)
class Request:
    """Request with its outcome.

    Attributes:
        sent_s: time at which it was sent, on the monotonic clock.
        address: address of the pod; empty if there was no endpoint.
        outcome: the HTTP status, or the failure.
    """

    sent_s: float
    address: str
    outcome: str


class Traffic:
    """Requests at a steady rate, each to a ready endpoint and on its own connection.

    kube-proxy distributes clients without keep-alive in the same way.

    Args:
        cluster: cluster with the Service.
        namespace: namespace of the Service.
        service: name of the Service.
        rate: requests per second.
        key: API key of every request.
    """

    def __init__(self, cluster: Cluster, namespace: str, service: str, rate: float, key: str = "") -> None:
        self.rate = rate
        self.requests: list[Request] = []
        self.endpoints: list[tuple[float, tuple[str, ...]]] = []
        self._find = lambda: ready_endpoints(cluster, namespace, service)
        self._headers = {"Content-Type": "application/json"} | (
            {"Authorization": f"Bearer {key}"} if key else {}
        )
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._follow), threading.Thread(target=self._send)]

    def __enter__(self) -> Traffic:
        self._note(self._find())
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    @property
    def failed(self) -> list[Request]:
        """Return every request without an answer of status 200."""
        return [request for request in self.requests if request.outcome != "200"]

    def left_s(self, address: str, after_s: float) -> float | None:
        """Return when an address was no longer an endpoint; None while it is one."""
        return next((at for at, found in self.endpoints if at >= after_s and address not in found), None)

    def _follow(self) -> None:
        while not self._over.wait(_FOLLOW_S):
            found = self._find()
            if found != self.endpoints[-1][1]:
                self._note(found)

    def _note(self, found: tuple[str, ...]) -> None:
        self.endpoints.append((time.monotonic(), found))

    def _send(self) -> None:
        texts = itertools.cycle(TEXTS)
        due = time.monotonic()
        with ThreadPoolExecutor(_CALLERS) as callers:
            while not self._over.wait(max(0.0, due - time.monotonic())):
                callers.submit(self._ask, next(texts))
                due += 1 / self.rate

    def _ask(self, text: str) -> None:
        sent_s, found = time.monotonic(), self.endpoints[-1][1]
        address = random.choice(found) if found else ""
        outcome = _outcome(lambda: post(address, text, self._headers)) if address else NO_ENDPOINT
        self.requests.append(Request(sent_s, address, outcome))


def ready_endpoints(cluster: Cluster, namespace: str, service: str) -> tuple[str, ...]:
    """Return the addresses of the Service's ready endpoints, in order."""
    slices: list[dict[str, Any]] = cluster.client().find(
        _ENDPOINT_SLICE, namespace, f"kubernetes.io/service-name={service}"
    )
    return tuple(
        sorted(
            address
            for one in slices
            for endpoint in one.get("endpoints") or []
            if endpoint["conditions"].get("ready")
            for address in endpoint["addresses"]
        )
    )


def post(address: str, text: str, headers: dict[str, str]) -> int:
    """Send a text to a pod for classification; return the HTTP status."""
    connection = http.client.HTTPConnection(address, SERVE_PORT, timeout=_TIMEOUT_S)
    try:
        connection.request("POST", "/v1/classify", json.dumps({"inputs": [text]}), headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def _outcome(ask: Callable[[], int]) -> str:
    try:
        return str(ask())
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"
