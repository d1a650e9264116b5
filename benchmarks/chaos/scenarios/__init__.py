"""Scenarios in the order in which they run, each with its time limit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.chaos.scenarios import client_faults, deployments, killed_processes, load, ray_node, storage
from benchmarks.chaos.scenarios.context import Context
from benchmarks.chaos.verdict import Result


@dataclass(frozen=True, slots=True)
class Scenario:
    """Fault scenario with its time limit.

    Attributes:
        run: executes the scenario and returns its measurements.
        limit_s: seconds after which it is terminated, including the start of a service.
        soaks: whether the duration of the soak is added to the limit.
    """

    run: Callable[[Context, str], Result]
    limit_s: float = 180.0
    soaks: bool = False


SCENARIOS: Mapping[str, Scenario] = {
    "replica killed": Scenario(killed_processes.replica_killed),
    "replica stopped for 20 s": Scenario(killed_processes.replica_stopped),
    "HAProxy killed": Scenario(killed_processes.haproxy_killed),
    "proxy actor killed": Scenario(killed_processes.proxy_actor_killed),
    "fallback proxy killed": Scenario(killed_processes.fallback_proxy_killed),
    "controller killed": Scenario(killed_processes.controller_killed),
    "log folder unwritable": Scenario(storage.log_unwritable),
    "log folder full": Scenario(storage.log_full),
    "model folder deleted": Scenario(storage.model_deleted),
    "broken bundle deployed": Scenario(deployments.broken_bundle),
    "scaled 2 to 1 and back": Scenario(deployments.scaled_down),
    "worst-case bodies": Scenario(client_faults.worst_case_bodies),
    "slow clients": Scenario(client_faults.slow_clients),
    "vanishing clients": Scenario(client_faults.vanishing_clients),
    "10 x overload": Scenario(load.overload),
    "soak at 70 %": Scenario(load.soak, soaks=True),
    "GCS killed": Scenario(ray_node.gcs_killed),
    "GCS restarted on Redis": Scenario(ray_node.gcs_restarted),
    "parent killed": Scenario(ray_node.parent_killed),
}
