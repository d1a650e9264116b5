"""Scenarios with hostile and broken clients next to the small requests of normal clients."""

from __future__ import annotations

import time
from collections.abc import Sequence

from benchmarks.chaos.experiment import p99_ratio, under_traffic
from benchmarks.chaos.hostile import (
    Client,
    HostileClients,
    leaves,
    sends_worst_cases,
    stalls_in_the_head,
    trickles,
)
from benchmarks.chaos.scenarios.context import ScenarioContext
from benchmarks.chaos.verdict import ScenarioResult

_ALONE_S, _BESIDE_S = 10.0, 15.0
_WORST_CASE_CLIENTS, _WORST_CASE_PAUSE_S = 2, 0.5
_SLOW_CLIENTS = 100
"""Number of clients of each slow kind."""
_VANISHING_CLIENTS, _VANISHING_PAUSE_S = 4, 0.4
"""Number of clients of each kind; each kind opens ten connections per second."""


def worst_case_bodies(context: ScenarioContext, name: str) -> ScenarioResult:
    """Send expensive bodies of up to 900 KB from two clients, half a second apart."""
    clients = [
        sends_worst_cases(_WORST_CASE_PAUSE_S, offset=6 * number) for number in range(_WORST_CASE_CLIENTS)
    ]
    return _beside(context, name, clients)


def slow_clients(context: ScenarioContext, name: str) -> ScenarioResult:
    """Hold 200 connections: uploads of one byte per second, and request heads that stop halfway."""
    return _beside(context, name, [trickles, stalls_in_the_head] * _SLOW_CLIENTS)


def vanishing_clients(context: ScenarioContext, name: str) -> ScenarioResult:
    """Close connections during uploads and while an answer is pending, 20 times per second."""
    clients = [leaves(sends=sends, pause_s=_VANISHING_PAUSE_S) for sends in (0.7, 1.0)] * _VANISHING_CLIENTS
    return _beside(context, name, clients)


def _beside(context: ScenarioContext, name: str, clients: Sequence[Client]) -> ScenarioResult:
    service = context.shared.get()
    with under_traffic(service, name, before_s=_ALONE_S) as experiment:
        experiment.fault()
        began = time.monotonic()
        with HostileClients(service.url, clients) as hostile:
            experiment.observe(_BESIDE_S)
        ended = time.monotonic()
        experiment.observe(_ALONE_S / 2)
    experiment.measure()
    ratio, note = p99_ratio(experiment, began, ended)
    experiment.result.measures["p99_ratio"] = ratio
    experiment.result.notes.append(note)
    outcomes = ", ".join(f"{what} {count}" for what, count in sorted(hostile.outcomes.items()))
    experiment.result.notes.append(f"the clients: {outcomes}")
    return experiment.result
