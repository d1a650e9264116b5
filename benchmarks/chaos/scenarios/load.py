"""Scenarios with load above the capacity for a short time, and near the capacity for a long time."""

from __future__ import annotations

import threading
import time
from typing import Self

import psutil
import uvloop

from benchmarks.chaos.availability import p99_s
from benchmarks.chaos.experiment import under_traffic
from benchmarks.chaos.scenarios.context import ScenarioContext
from benchmarks.chaos.service import ServiceProcess
from benchmarks.chaos.slope import Slope, slope
from benchmarks.chaos.traffic import NOT_SENT, OK, REFUSED, RequestStream
from benchmarks.chaos.verdict import ScenarioResult
from benchmarks.load import closed_loop
from loadtest.synthetic_texts import invent

_CAPACITY_S, _CONNECTIONS = 8.0, 32
_OVERLOAD, _FLOOD_S = 10, 12.0
_TEXTS = invent(500, 0)
_SOAK_FRACTION, _SOAK_PROBES_PER_S = 0.7, 5.0
_WARM_UP_FRACTION, _MAX_WARM_UP_S = 0.4, 240.0
_MIN_MEMORY_SOAK_S = 600.0
"""Minimum soak in seconds for a verdict on the memory of the replicas.

A replica's memory rises by about a fifth during its first 7,500 requests, and by a hundredth during the next
5,000 (docs/reliability.md). A shorter soak ends before that, so it does not judge this series.
"""
_REPLICA_MEMORY = "replicas, memory"
_SAMPLE_S = 1.0
_ERROR = 0.05


def overload(context: ScenarioContext, name: str) -> ScenarioResult:
    """Offer ten times the capacity: accepted requests stay fast, and the rest is refused with 429."""
    service = context.shared.get()
    capacity = _capacity(service)
    with under_traffic(service, name) as experiment:
        began = time.monotonic()
        with RequestStream(service.url, _TEXTS, _OVERLOAD * capacity) as flood:
            experiment.observe(_FLOOD_S)
            experiment.fault()  # the time to normal counts from the end of the flood
    # Requests that the generator could not send are no evidence about the service.
    sent = [request for request in flood.requests if request.outcome != NOT_SENT]
    experiment.measure(allowed=(OK, REFUSED), beside=sent)
    accepted = [request for request in sent if request.outcome == OK]
    refused = sum(request.outcome == REFUSED for request in sent)
    ramp_s = 2.0
    steady = sum(began + ramp_s < (request.done or 0) <= began + _FLOOD_S for request in accepted)
    per_s = steady / (_FLOOD_S - ramp_s)
    result = experiment.result
    result.measures["accepted_p99_s"] = p99_s(accepted)
    result.measures["capacity_lost"] = max(0.0, 1 - per_s / capacity)
    result.notes.append(
        f"capacity {capacity:.0f}/s, offered {len(sent) / _FLOOD_S:.0f}/s, accepted {per_s:.0f}/s, "
        f"{refused} refused"
    )
    return result


def soak(context: ScenarioContext, name: str) -> ScenarioResult:
    """Offer 70 % of the capacity for minutes: no request fails, and neither memory nor descriptors grow."""
    service = context.shared.get()
    capacity = _capacity(service)
    warm_up_s = min(_MAX_WARM_UP_S, _WARM_UP_FRACTION * context.soak_s)
    with under_traffic(service, name, per_s=_SOAK_PROBES_PER_S) as experiment:
        experiment.fault()
        with RequestStream(service.url, _TEXTS, _SOAK_FRACTION * capacity) as load:
            experiment.observe(warm_up_s)
            with ResourceSampler(service) as sampler:
                experiment.observe(context.soak_s - warm_up_s)
    experiment.measure(allowed=(OK, REFUSED), beside=load.requests)
    result = experiment.result
    refused = sum(request.outcome == REFUSED for request in load.requests)
    result.measures["refused_fraction"] = refused / len(load.requests)
    slopes = sampler.slopes()
    judged = [
        series for series in slopes if series != _REPLICA_MEMORY or context.soak_s >= _MIN_MEMORY_SOAK_S
    ]
    growing = [series for series in judged if slopes[series].grows]
    result.measures["growing_series"] = len(growing)
    result.notes.append(
        f"{_SOAK_FRACTION * capacity:.0f} texts/s for {context.soak_s / 60:.1f} min; "
        f"p99 {1000 * p99_s(load.requests):.0f} ms; {refused} refused"
    )
    for series, found in slopes.items():
        grows = "; GROWS" if series in growing else ""
        grows += "" if series in judged else "; not judged: the soak is too short"
        result.notes.append(f"{series}: {sampler.levels(series)}; {_per_hour(series, found)}{grows}")
    return result


class ResourceSampler:
    """Sampler of resident memory and open descriptors of the service's processes, once per second.

    It samples while the block runs.
    """

    def __init__(self, service: ServiceProcess) -> None:
        processes = service.processes
        self._groups = {
            "replicas": processes.replicas,
            "HAProxy": processes.haproxies,
            "launcher": [processes.launcher],
        }
        self._times: list[float] = []
        self._series: dict[str, list[float]] = {
            f"{group}, {what}": [] for group in self._groups for what in ("memory", "descriptors")
        }
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(10)

    def slopes(self) -> dict[str, Slope]:
        """Return the slope of each series; the intervals hold for all of them at once (Bonferroni)."""
        error = _ERROR / len(self._series)
        return {name: slope(self._times, series, error=error) for name, series in self._series.items()}

    def levels(self, series: str) -> str:
        """Return the first and the last value of a series."""
        scale, unit = (1e6, " MB") if series.endswith("memory") else (1.0, "")
        first, last = (self._series[series][place] / scale for place in (0, -1))
        return f"{first:.0f} to {last:.0f}{unit}"

    def _run(self) -> None:
        while not self._stopping.wait(_SAMPLE_S):
            self._times.append(time.monotonic())
            for group, processes in self._groups.items():
                try:
                    memory = sum(process.memory_info().rss for process in processes)
                    descriptors = sum(process.num_fds() for process in processes)
                except psutil.NoSuchProcess:
                    memory = descriptors = 0
                self._series[f"{group}, memory"].append(memory)
                self._series[f"{group}, descriptors"].append(descriptors)


def _capacity(service: ServiceProcess) -> float:
    """Return the answers per second with 32 connections that each wait for their answer."""
    outcome = uvloop.run(closed_loop(service.url, _TEXTS, connections=_CONNECTIONS, seconds=_CAPACITY_S))
    return outcome.rate


def _per_hour(series: str, found: Slope) -> str:
    unit, scale = ("MB/h", 3600 / 1e6) if series.endswith("memory") else ("/h", 3600.0)
    return f"{scale * found.per_s:+.2f} {unit} [{scale * found.low:+.2f}, {scale * found.high:+.2f}]"
