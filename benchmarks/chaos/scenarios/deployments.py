"""Scenarios that change the deployment: a bundle that cannot be loaded, and fewer replicas."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from benchmarks.chaos.experiment import under_traffic
from benchmarks.chaos.processes import wait_until
from benchmarks.chaos.scenarios.context import ScenarioContext
from benchmarks.chaos.service import REPLICAS, ServiceProcess, copy_builtin_model
from benchmarks.chaos.verdict import ScenarioResult
from cluster.rollout.targets.base import TrafficSplit

_APPLIED_S = 40.0
_BROKEN_S = 15.0
"""Seconds with the broken bundle deployed: health checks see several failures in this time."""
_SCALED_S = 5.0


def broken_bundle(context: ScenarioContext, name: str) -> ScenarioResult:
    """Deploy a bundle with truncated weights through `user_config`, then the working bundle again."""
    service = context.shared.get()
    version, working = service.version(), TrafficSplit(str(service.model))
    broken = _truncated_bundle(service)
    with under_traffic(service, name) as experiment:
        experiment.fault()
        service.target.apply(TrafficSplit(str(broken)))
        experiment.observe(_BROKEN_S)
        other, state = service.version() != version, service.model_state()
        service.target.apply(working)
        experiment.wait_until_whole(_APPLIED_S)
        experiment.result.measures["whole_s"] -= _BROKEN_S
    experiment.measure()
    experiment.result.measures["other_version"] = int(other)
    experiment.result.measures["failure_not_reported"] = int(state != "failed")
    shutil.rmtree(broken)
    return experiment.result


def scaled_down(context: ScenarioContext, name: str) -> ScenarioResult:
    """Scale from two replicas to one under traffic, and back."""
    service = context.shared.get()
    with under_traffic(service, name) as experiment:
        experiment.fault()
        service.target.scale(1)
        down_s = wait_until(lambda: service.is_whole(1), _APPLIED_S, poll_s=0.25)
        experiment.observe(_SCALED_S)
        service.target.scale(REPLICAS)
        began = time.monotonic()
        experiment.wait_until_whole(_APPLIED_S)
        up_s = time.monotonic() - began
    experiment.measure()
    experiment.result.notes.append(f"one replica after {down_s:.1f} s, two again after another {up_s:.1f} s")
    return experiment.result


def _truncated_bundle(service: ServiceProcess) -> Path:
    folder = service.folder / "broken"
    copy_builtin_model(folder)
    weights = max(folder.rglob("*.safetensors"), key=lambda path: path.stat().st_size)
    with weights.open("rb+") as file:
        file.truncate(weights.stat().st_size // 2)
    return folder
