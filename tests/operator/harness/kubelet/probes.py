"""Probes: checks of whether a container has started, is ready, and is alive."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.operator.harness.kubelet.container import Container

_WAIT_S = 0.2


def watch(
    container: Container,
    address: str,
    grace_s: float,
    *,
    is_over: Callable[[], bool],
    on_change: Callable[[], None],
    on_failure: Callable[[str, str], None],
) -> None:
    """Probe this run of a container, each probe in a thread, until the run is over.

    Args:
        container: container that was just started.
        address: address of the pod.
        grace_s: seconds between SIGTERM and SIGKILL after a failed liveness or startup probe.
        is_over: returns whether this run of the container, or the pod, has ended.
        on_change: called when the container's readiness has changed.
        on_failure: called with the kind of probe and its answer when a probe has reached its failure
            threshold.
    """

    def run(kind: str) -> None:
        probe = container.spec[kind]
        successes = failures = 0
        _sleep(probe.get("initialDelaySeconds", 0), is_over)
        while not is_over():
            if kind != "startupProbe" and not container.is_started:
                time.sleep(_WAIT_S)
                continue
            passed, answer = check(container, probe, address)
            if is_over():
                return
            successes, failures = (successes + 1, 0) if passed else (0, failures + 1)
            if passed and successes >= probe.get("successThreshold", 1):
                if kind == "startupProbe":
                    container.is_started = True
                    container.is_ready = "readinessProbe" not in container.spec
                    return on_change()
                if kind == "readinessProbe" and not container.is_ready:
                    container.is_ready = True
                    on_change()
            elif not passed and failures >= probe.get("failureThreshold", 3):
                if kind == "readinessProbe":
                    if container.is_ready:
                        container.is_ready = False
                        on_failure(kind, answer)
                        on_change()
                else:
                    on_failure(kind, answer)
                    return container.kill(probe.get("terminationGracePeriodSeconds", grace_s))
            _sleep(probe.get("periodSeconds", 10), is_over)
        return None

    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        if kind in container.spec:
            threading.Thread(target=run, args=(kind,), daemon=True).start()


def check(container: Container, probe: dict[str, Any], address: str) -> tuple[bool, str]:
    """Probe once; return whether it passed, and the answer."""
    timeout_s = probe.get("timeoutSeconds", 1)
    if "exec" in probe:
        code, output = container.execute(probe["exec"]["command"], timeout_s)
        return code == 0, output[-300:]
    if "httpGet" in probe:
        return _get(probe["httpGet"], address, _port(container, probe["httpGet"]["port"]), timeout_s)
    if "tcpSocket" in probe:
        try:
            with socket.create_connection((address, _port(container, probe["tcpSocket"]["port"])), timeout_s):
                return True, ""
        except OSError as error:
            return False, str(error)
    raise ValueError(f"a probe of the kinds exec, httpGet or tcpSocket was expected, got {sorted(probe)}")


def _get(get: dict[str, Any], address: str, port: int, timeout_s: float) -> tuple[bool, str]:
    connection = http.client.HTTPConnection(address, port, timeout=timeout_s)
    headers = {header["name"]: header["value"] for header in get.get("httpHeaders") or []}
    try:
        connection.request("GET", get.get("path", "/"), headers=headers)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return False, f"{type(error).__name__}: {error}"
    finally:
        connection.close()
    return 200 <= status < 400, f"HTTP status {status}"


def _port(container: Container, port: int | str) -> int:
    if isinstance(port, int):
        return port
    named = {one.get("name"): one["containerPort"] for one in container.spec.get("ports") or []}
    return int(named[port])


def _sleep(seconds: float, is_over: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while not is_over() and (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, _WAIT_S))
