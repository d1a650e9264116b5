"""Diagnosis of Ray objects that are not ready, from their pods, volume claims, events and Serve status.

A cause is final if waiting cannot resolve it: only a user can change it. Other causes, which a controller may
resolve (a missing node, a retried image pull), are reported while the client waits.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from cluster.kuberay.client.status import SETTLED, service_statuses
from cluster.kuberay.diagnosis.pod_causes import Cause, attempted_at, is_fault, pod_causes, short
from serve_app.tracebacks import last_error

Document = Mapping[str, Any]
GATEWAY_API = "gateway.networking.k8s.io/v1"
INCREMENTAL = "NewClusterWithIncrementalUpgrade"

_REPLACED = re.compile(r"ExitCode:(\d+).*?Reason:(\w*)")
"""Matches the operator's event. The operator records a second event of a cluster as a repetition of the
first, with the text of the first, and further events minutes later, so the events cannot be counted."""
_NAMES_MAX = 3
_HOPELESS = " (waiting does not change this)"


@dataclass(frozen=True)
class RelatedObjects:
    """State of a Ray object and of the objects that belong to it.

    Attributes:
        document: Ray object.
        clusters: RayClusters of the object; a service has two during an upgrade.
        pods: Pods of the clusters, and of the Redis that is rendered for them.
        claims: PersistentVolumeClaims of the namespace.
        events: Events of the namespace.
        absent: Referenced objects that do not exist, such as "ServiceAccount sentiment".
        last_lines: Last line of the log of an ended container, by pod and container.
        unread: Resources that the caller is not allowed to read.
    """

    document: Document
    clusters: Sequence[Document] = ()
    pods: Sequence[Document] = ()
    claims: Sequence[Document] = ()
    events: Sequence[Document] = ()
    absent: Sequence[str] = ()
    last_lines: Mapping[tuple[str, str], str] | None = None
    unread: Sequence[str] = ()


def causes(evidence: RelatedObjects) -> tuple[Cause, ...]:
    """Return the causes why the object is not ready, the final ones last."""
    found = [*_of_object(evidence.document), *_of_absent(evidence), *_of_claims(evidence)]
    for pod in evidence.pods:
        events = [event for event in evidence.events if _is_about(event, pod)]
        found += pod_causes(pod, events, evidence.last_lines or {})
    for cluster in evidence.clusters:
        found += _of_cluster(cluster, evidence)
    return tuple(sorted(dict.fromkeys(found), key=lambda cause: cause.is_final))


def lines(found: Sequence[Cause]) -> list[str]:
    """Return one line per text, with all subjects that it applies to."""
    result = []
    for is_final, group in groupby(found, key=lambda cause: cause.is_final):
        subjects: dict[str, list[str]] = {}
        for cause in group:
            subjects.setdefault(cause.text, []).append(cause.subject)
        for text, names in subjects.items():
            more = f" and {len(names) - _NAMES_MAX} more" if len(names) > _NAMES_MAX else ""
            result.append(f"{', '.join(names[:_NAMES_MAX])}{more}: {text}{_HOPELESS if is_final else ''}")
    return result


def _of_object(document: Document) -> Iterator[Cause]:
    """Yield the causes in the status of the Ray object."""
    status, subject = document.get("status") or {}, _subject(document)
    for condition in status.get("conditions") or []:
        message = condition.get("message", "")
        if condition.get("reason") == "ValidationFailed":
            yield Cause(subject, f"rejected by the operator: {message}", is_final=True)
        if condition.get("reason") == "InitializingTimeout":
            text = f"{message}; the operator does not retry: delete it and apply it again"
            yield Cause(subject, text, is_final=True)
    for part in service_statuses(status):
        for name, application in (part.get("applicationStatuses") or {}).items():
            yield from _of_application(name, application)


def _of_application(name: str, application: Mapping[str, Any]) -> Iterator[Cause]:
    found = False
    for deployment, status_of in (application.get("serveDeploymentStatuses") or {}).items():
        if status_of.get("message") and status_of.get("status") not in SETTLED:
            found = True
            is_final = status_of.get("status") == "DEPLOY_FAILED"
            yield Cause(f"deployment {deployment}", last_error(status_of["message"]), is_final)
    if not found and application.get("status") == "DEPLOY_FAILED":
        message = last_error(application.get("message") or "no message")
        yield Cause(f"application {name}", message, is_final=True)


def _of_absent(evidence: RelatedObjects) -> Iterator[Cause]:
    for what in evidence.absent:
        if what == GATEWAY_API:
            text = (
                f"upgrade type {INCREMENTAL} needs the Gateway API ({GATEWAY_API}), whose CRDs are not "
                "installed; install them, or set upgrade.type=NewCluster"
            )
        else:
            text = f"{what} does not exist, so no pod can be created; `python -m cluster apply` creates it"
        yield Cause(_subject(evidence.document), text, is_final=True)


def _of_claims(evidence: RelatedObjects) -> Iterator[Cause]:
    """Yield a cause for each volume claim of a pod that has no volume."""
    used = {
        volume["persistentVolumeClaim"]["claimName"]
        for pod in evidence.pods
        for volume in pod["spec"].get("volumes") or []
        if "persistentVolumeClaim" in volume
    }
    for claim in evidence.claims:
        if claim["metadata"]["name"] not in used or (claim.get("status") or {}).get("phase") != "Pending":
            continue
        events = [event for event in evidence.events if _is_about(event, claim)]
        message = max(events, key=attempted_at, default={}).get("message") or "no volume is bound to it yet"
        is_final = "no storage class is set" in message or re.search(r"storageclass\S* .*not found", message)
        yield Cause(f"claim {claim['metadata']['name']}", short(message), bool(is_final))


def _of_cluster(cluster: Document, evidence: RelatedObjects) -> Iterator[Cause]:
    """Yield a cause for pods that the operator cannot create, or replaces repeatedly."""
    status, pods = cluster.get("status") or {}, _pods_of(cluster, evidence.pods)
    ready = sum(_is_ready(pod) for pod in pods)
    if ready > status.get("desiredWorkerReplicas", 0):  # the head and all workers
        return
    for condition in status.get("conditions") or []:
        if (condition["type"], condition["status"]) == ("ReplicaFailure", "True"):
            message = condition.get("message", "").rpartition("\n")[2]
            if "error looking up service account" in message and evidence.absent:
                continue  # reported by its name
            is_final = "violates PodSecurity" in message or " is invalid: " in message
            yield Cause(_subject(cluster), f"a pod cannot be created: {message}", is_final)
    for event in sorted(evidence.events, key=attempted_at):
        role = {"DeletedHeadPod": "head", "DeletedWorkerPod": "worker"}.get(event.get("reason", ""))
        fault = _REPLACED.search(event.get("message", ""))
        if role and fault and _is_about(event, cluster) and is_fault(int(fault[1]), fault[2]):
            reason = f" ({fault[2]})" if fault[2] not in ("", "Error") else ""
            when = attempted_at(event).partition(".")[0]
            text = f"a {role} pod ended with exit code {fault[1]}{reason} and was replaced at {when}"
            yield Cause(_subject(cluster), text, is_final=False)


def _pods_of(cluster: Document, pods: Sequence[Document]) -> list[Document]:
    name = cluster["metadata"]["name"]
    return [pod for pod in pods if (pod["metadata"].get("labels") or {}).get("ray.io/cluster") == name]


def _is_ready(pod: Document) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _is_about(event: Mapping[str, Any], document: Document) -> bool:
    return bool((event.get("involvedObject") or {}).get("uid") == document["metadata"].get("uid"))


def _subject(document: Document) -> str:
    return f"{document['kind']} {document['metadata']['name']}"
