"""Scenarios in which a process of the running service is killed with SIGKILL, or stopped for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import psutil

from benchmarks.chaos.experiment import under_traffic
from benchmarks.chaos.processes import ServiceProcesses, kill
from benchmarks.chaos.scenarios.context import ScenarioContext
from benchmarks.chaos.verdict import ScenarioResult

Find = Callable[[ServiceProcesses], psutil.Process]

_BACK_S = 70.0
"""Seconds to wait for the replacement of a killed process."""
_LATER_S = 5.0
"""Additional seconds of traffic: Serve's health checks run every 5 s."""
_REPLACED_S = 20.0
"""`_LATER_S` after HAProxy is killed: Serve replaces its proxy actor after three failed health checks."""
_STOPPED_S = 20.0
_KILLED_REPLICA_PER_S = 60.0
"""More traffic than in other scenarios, so that requests are in flight."""


def replica_killed(context: ScenarioContext, name: str) -> ScenarioResult:
    """Kill one of two replicas: only requests in flight there may fail."""
    service = context.shared.get()
    with under_traffic(service, name, per_s=_KILLED_REPLICA_PER_S) as experiment:
        victim = service.processes.replicas[0]
        experiment.fault()
        kill([victim])
        gone_at = time.monotonic()
        experiment.wait_until_whole(_BACK_S)
    experiment.measure_kill(gone_at, experiment.measure())
    return experiment.result


def replica_stopped(context: ScenarioContext, name: str) -> ScenarioResult:
    """Stop one of two replicas with SIGSTOP for 20 s, like a machine that stalls."""
    service = context.shared.get()
    with under_traffic(service, name) as experiment:
        victim = service.processes.replicas[0]
        experiment.fault()
        victim.suspend()
        try:
            experiment.observe(_STOPPED_S)
        finally:
            victim.resume()
        experiment.wait_until_whole(_BACK_S)
    experiment.measure()
    slowest_s = max(request.latency_s for request in experiment.traffic.requests)
    experiment.result.notes.append(f"the slowest request took {slowest_s:.1f} s")
    return experiment.result


def haproxy_killed(context: ScenarioContext, name: str) -> ScenarioResult:
    """Kill HAProxy, which forwards every request."""
    return _killed(context, name, lambda processes: processes.haproxy, later_s=_REPLACED_S)


def proxy_actor_killed(context: ScenarioContext, name: str) -> ScenarioResult:
    """Kill the actor that starts and configures HAProxy."""
    return _killed(context, name, lambda processes: processes.actor("HAProxyManager"))


def fallback_proxy_killed(context: ScenarioContext, name: str) -> ScenarioResult:
    """Kill Serve's own proxy, to which HAProxy falls back when there are no replicas."""
    return _killed(context, name, lambda processes: processes.actor("ProxyActor"))


def controller_killed(context: ScenarioContext, name: str) -> ScenarioResult:
    """Kill Serve's controller."""
    return _killed(context, name, lambda processes: processes.actor("ServeController"))


def _killed(context: ScenarioContext, name: str, find: Find, *, later_s: float = _LATER_S) -> ScenarioResult:
    service = context.shared.get()
    with under_traffic(service, name) as experiment:
        victim = find(service.processes)
        experiment.fault()
        kill([victim])
        experiment.wait_until_whole(
            _BACK_S, also=lambda: _found(find, service.processes) not in (None, victim)
        )
        experiment.observe(later_s)
    experiment.measure()
    return experiment.result


def _found(find: Find, processes: ServiceProcesses) -> psutil.Process | None:
    with suppress(LookupError, psutil.Error):
        return find(processes)
    return None
