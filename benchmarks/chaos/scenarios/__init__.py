"""Scenarios in the order in which they run, each with its time limit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.chaos.scenarios import client_faults, deployments, killed_processes, load, ray_node, storage
from benchmarks.chaos.scenarios.context import ScenarioContext
from benchmarks.chaos.verdict import ScenarioResult


@dataclass(frozen=True, slots=True)
class FaultScenario:
    """Fault scenario with its time limit.

    Attributes:
        run: executes the scenario and returns its measurements.
        limit_s: seconds after which it is terminated, including the start of a service.
        soaks: whether the duration of the soak is added to the limit.
    """

    run: Callable[[ScenarioContext, str], ScenarioResult]
    limit_s: float = 180.0
    soaks: bool = False


SCENARIOS: Mapping[str, FaultScenario] = {
    "replica killed": FaultScenario(killed_processes.replica_killed),
    "replica stopped for 20 s": FaultScenario(killed_processes.replica_stopped),
    "HAProxy killed": FaultScenario(killed_processes.haproxy_killed),
    "proxy actor killed": FaultScenario(killed_processes.proxy_actor_killed),
    "fallback proxy killed": FaultScenario(killed_processes.fallback_proxy_killed),
    "controller killed": FaultScenario(killed_processes.controller_killed),
    "log folder unwritable": FaultScenario(storage.log_unwritable),
    "log folder full": FaultScenario(storage.log_full),
    "model folder deleted": FaultScenario(storage.model_deleted),
    "broken bundle deployed": FaultScenario(deployments.broken_bundle),
    "scaled 2 to 1 and back": FaultScenario(deployments.scaled_down),
    "worst-case bodies": FaultScenario(client_faults.worst_case_bodies),
    "slow clients": FaultScenario(client_faults.slow_clients),
    "vanishing clients": FaultScenario(client_faults.vanishing_clients),
    "10 x overload": FaultScenario(load.overload),
    "soak at 70 %": FaultScenario(load.soak, soaks=True),
    "GCS killed": FaultScenario(ray_node.gcs_killed),
    "GCS restarted on Redis": FaultScenario(ray_node.gcs_restarted),
    "parent killed": FaultScenario(ray_node.parent_killed),
}
