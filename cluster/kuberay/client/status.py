"""Progress of a Ray object, derived from its status."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import yaml

State = Literal["waiting", "ready", "failed"]
_FAILED_JOB = ("Failed", "ValidationFailed")
SETTLED = ("HEALTHY", "DOWNSCALING")
"""Statuses of a deployment with at least the target number of replicas."""


@dataclass(frozen=True, slots=True)
class Condition:
    """Condition of a Kubernetes status."""

    type: str
    status: str
    reason: str
    message: str

    def __str__(self) -> str:
        message = f": {self.message}" if self.message else ""
        return f"{self.type}={self.status} ({self.reason}){message}"


@dataclass(frozen=True, slots=True)
class ObjectProgress:
    """Progress of an object.

    Attributes:
        state: Whether the object is waiting, ready or failed.
        summary: Description on one line.
        conditions: Conditions of the status, in its order.
    """

    state: State
    summary: str
    conditions: tuple[Condition, ...] = ()


def progress(document: Mapping[str, Any]) -> ObjectProgress:
    """Return the progress of a RayService, RayCluster or RayJob, from fields that KubeRay's operator writes.

    The operator updates `observedGeneration` for a RayService only, except if the spec fails the validation:
    then it writes the condition and `lastUpdateTime`. It never sets the field on a RayJob, and does not
    update it on a RayCluster without another change of the status.
    """
    status = document.get("status") or {}
    conditions = tuple(
        Condition(one["type"], one["status"], one.get("reason", ""), one.get("message", ""))
        for one in status.get("conditions") or []
    )
    if document["kind"] == "RayService" and not _is_current(document["metadata"], status, conditions):
        return ObjectProgress("waiting", "the operator has not processed this version yet", conditions)
    state, summary = _READERS[document["kind"]](status, {one.type: one for one in conditions})
    if state == "ready" and document["kind"] == "RayService":
        state, summary = _pods(document, summary)
    return ObjectProgress(state, summary, conditions)


def cluster_names(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of an object's RayClusters; a service has two during an upgrade."""
    status = document.get("status") or {}
    if document["kind"] == "RayCluster":
        return (document["metadata"]["name"],)
    if document["kind"] == "RayJob":
        found = [status.get("rayClusterName")]
    else:
        found = [part.get("rayClusterName") for part in service_statuses(status)]
    return tuple(name for name in found if name)


def least_replicas(options: Mapping[str, Any]) -> int:
    """Return the minimum number of replicas of a deployment, with Serve's defaults."""
    scaling, number = options.get("autoscaling_config"), options.get("num_replicas")
    if scaling is not None:
        return int(scaling.get("min_replicas", 1))
    return number if isinstance(number, int) else 1


def service_statuses(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the statuses of a RayService's clusters: active, and pending during an upgrade."""
    return [status.get("activeServiceStatus") or {}, status.get("pendingServiceStatus") or {}]


def _pods(document: Mapping[str, Any], summary: str) -> tuple[State, str]:
    """Return whether a service has its target number of pods; for the operator one pod is ready.

    A pod runs one replica. Serve reports a deployment as healthy once it runs the number of replicas of its
    autoscaler, which the status does not contain, but which is at least the minimum.
    """
    config = yaml.safe_load(document["spec"].get("serveConfigV2", "")) if document.get("spec") else None
    deployments = [
        options
        for application in (config or {}).get("applications") or []
        for options in application.get("deployments") or []
    ]
    min_replicas = max(map(least_replicas, deployments), default=1)
    ready = document["status"].get("numServeEndpoints", 0)
    if ready < min_replicas:
        return "waiting", f"{ready} of {min_replicas} pods ready; {summary.partition('; ')[2]}"
    applications = service_statuses(document["status"])[0].get("applicationStatuses") or {}
    unsettled = [
        f"{name} {one.get('status', '?').lower()}"
        for application in applications.values()
        for name, one in (application.get("serveDeploymentStatuses") or {}).items()
        if one.get("status") not in SETTLED
    ]
    return ("waiting", f"{summary}; {', '.join(unsettled)}") if unsettled else ("ready", summary)


def _is_current(
    metadata: Mapping[str, Any], status: Mapping[str, Any], conditions: tuple[Condition, ...]
) -> bool:
    """Return whether a RayService's status belongs to the current spec."""
    if any(one.type == "Ready" and one.reason == "ValidationFailed" for one in conditions):
        written = [
            entry.get("time", "")
            for entry in metadata.get("managedFields") or []
            if entry.get("subresource") != "status"
        ]
        return bool(status.get("lastUpdateTime", "") >= max(written, default=""))  # both RFC 3339 in UTC
    return bool(status.get("observedGeneration", 0) >= metadata.get("generation", 0))


def _service(status: Mapping[str, Any], conditions: Mapping[str, Condition]) -> tuple[State, str]:
    active, pending = service_statuses(status)
    applications = {**(active.get("applicationStatuses") or {}), **(pending.get("applicationStatuses") or {})}
    statuses = ", ".join(f"{name} {one.get('status', '?').lower()}" for name, one in applications.items())
    failed = [
        f"{name}: {one.get('message') or 'no message'}"
        for name, one in applications.items()
        if one.get("status") == "DEPLOY_FAILED"
    ]
    if failed:
        return "failed", f"Serve could not deploy {'; '.join(failed)}"
    if (invalid := conditions.get("Ready")) and invalid.reason == "ValidationFailed":
        return "failed", f"rejected by the operator: {invalid.message}"
    if invalid and invalid.reason == "InitializingTimeout":
        return "failed", f"the operator stopped waiting: {invalid.message}; delete it and apply it again"
    if (upgrade := conditions.get("UpgradeInProgress")) and upgrade.status == "True":
        moved = pending.get("trafficRoutedPercent")
        share = f", which serves {moved} % of the traffic" if moved is not None else ""
        return "waiting", f"moving to a new cluster{share}; {statuses or 'no application yet'}"
    ready = conditions.get("Ready")
    if ready is not None and ready.status == "True":
        unwell = [name for name, one in applications.items() if one.get("status") != "RUNNING"]
        if unwell:
            return "waiting", f"endpoints ready; {statuses}"
        return "ready", f"{status.get('numServeEndpoints', 0)} endpoints; {statuses}"
    return "waiting", statuses or "the cluster is starting"


def _cluster(status: Mapping[str, Any], conditions: Mapping[str, Condition]) -> tuple[State, str]:
    counts = (
        f"{status.get('readyWorkerReplicas', 0)} of {status.get('desiredWorkerReplicas', 0)} workers ready"
    )
    failure = conditions.get("ReplicaFailure")
    if failure is not None and failure.status == "True":
        return "failed", f"pods cannot be created: {failure.message or failure.reason}"
    if status.get("state") == "failed":
        return "failed", status.get("reason") or "the operator reports a failure without a reason"
    provisioned = conditions.get("RayClusterProvisioned")
    ready = status.get("state") == "ready" and (provisioned is None or provisioned.status == "True")
    return ("ready" if ready else "waiting"), counts


def _job(status: Mapping[str, Any], conditions: Mapping[str, Condition]) -> tuple[State, str]:
    deployment, job = status.get("jobDeploymentStatus", ""), status.get("jobStatus", "")
    message = status.get("message") or status.get("reason") or ""
    summary = (
        f"{deployment or 'new'}{f', job {job.lower()}' if job else ''}{f': {message}' if message else ''}"
    )
    if deployment in _FAILED_JOB or job in ("FAILED", "STOPPED"):
        return "failed", summary
    return ("ready" if deployment == "Complete" and job == "SUCCEEDED" else "waiting"), summary


_READERS = {"RayService": _service, "RayCluster": _cluster, "RayJob": _job}
