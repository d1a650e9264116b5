"""Deletion of an environment: Ray objects first, because their clean-up needs the other objects."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from cluster.errors import ObjectNotFoundError, WaitError
from cluster.kuberay.client.client import Document, KubeRay
from cluster.kuberay.client.resources import (
    INGRESS,
    POD,
    RAY_CLUSTER,
    RAY_JOB,
    RAY_KINDS,
    RAY_SERVICE,
    ResourceKind,
    kind_of,
)
from cluster.kuberay.manifests.labels import COMPONENT_LABEL, INSTANCE_LABEL
from cluster.kuberay.manifests.policies import TRAINING_COMPONENT

_ORIGIN = "ray.io/originated-from-cr-name"
"""Label of a RayCluster: name of the RayService or RayJob that created it."""
_POLL_S = 1.0
_SHOWN_MAX = 6


def delete_one(client: KubeRay, document: Document) -> str:
    """Delete an object, and return a message that states whether it existed."""
    metadata = document["metadata"]
    what = f"{document['kind']} {metadata['name']}"
    try:
        client.delete(kind_of(document), metadata.get("namespace", ""), metadata["name"])
    except ObjectNotFoundError:
        return f"{what} did not exist"
    return f"{what} deleted"


def delete_all(
    client: KubeRay,
    documents: Sequence[Document],
    *,
    timeout_s: float,
    now: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[str]:
    """Delete the Ray objects, wait until they and their pods are gone, and delete the rest.

    For a cluster with GCS fault tolerance, the operator runs a Job that empties its Redis, with the pods'
    service account; without Redis or the account the deletion of the RayCluster takes minutes.

    Args:
        client: Client of the cluster.
        documents: Objects of the environment, the Ray object last. With a RayService its trainings are
            deleted too.
        timeout_s: Maximum wait for the Ray objects.
        now: Returns monotonic seconds.
        pause: Sleeps for a number of seconds.

    Yields:
        Progress messages: each deleted object, and the remaining objects each time that they change.

    Raises:
        WaitError: Ray objects or pods remain; the rest of the environment was not deleted.
        KubeError: See `cluster.errors`.
    """
    *rest, ray = documents
    namespace, deadline = ray["metadata"]["namespace"], now() + timeout_s
    roots = [ray, *(_trainings(client, ray) if kind_of(ray) == RAY_SERVICE else [])]
    pods = _pod_selector(ray)
    left = _left(client, namespace, roots, pods)
    for root in roots:
        yield delete_one(client, root)
    reported = ""
    while left:
        waiting = f"waiting for {_names(left)}"
        if waiting != reported:
            yield waiting
            reported = waiting
        if now() >= deadline:
            held = [f"{one} by {', '.join(by)}" for one, by in left.items() if by]
            raise WaitError(
                f"not gone after {timeout_s:g} s: {_names(left)}"
                f"{'; held by finalizers: ' + '; '.join(held) if held else ''}; the rest of the environment "
                "was not deleted, because their clean-up needs it: run delete --all again, or see "
                f"`kubectl --namespace {namespace} get pods,jobs,events`"
            )
        pause(_POLL_S)
        left = _left(client, namespace, roots, pods)
    for document in reversed(rest):
        if kind_of(document) != INGRESS:
            yield delete_one(client, document)
    if kind_of(ray) == RAY_SERVICE:
        yield from _delete_ingresses(client, ray, deadline, now, pause)


def _delete_ingresses(
    client: KubeRay,
    service: Document,
    deadline: float,
    now: Callable[[], float],
    pause: Callable[[float], None],
) -> Iterator[str]:
    """Delete the service's Ingresses, also those that these settings do not render, and wait for their end.

    A finalizer holds them until their load balancer is deleted; without its controller it would remain.
    """
    namespace = service["metadata"]["namespace"]
    selector = f"{INSTANCE_LABEL}={service['metadata']['labels'][INSTANCE_LABEL]}"
    kind = {"apiVersion": INGRESS.api_version, "kind": INGRESS.name}  # the items of a list lack both
    found = client.find(INGRESS, namespace, selector)
    for ingress in found:
        yield delete_one(client, {**ingress, **kind})
    while found := client.find(INGRESS, namespace, selector):
        if now() >= deadline:
            names = _names(f"Ingress {ingress['metadata']['name']}" for ingress in found)
            raise WaitError(
                f"not gone after the timeout: {names}; the AWS Load Balancer Controller deletes the load "
                f"balancer, and must still run: see `kubectl --namespace {namespace} describe ingress`, and "
                "run delete --all again"
            )
        pause(_POLL_S)


def _trainings(client: KubeRay, service: Document) -> list[Document]:
    """Return the RayJobs of the service's environment."""
    metadata = service["metadata"]
    found = client.find(RAY_JOB, metadata["namespace"], f"{INSTANCE_LABEL}={metadata['name']}")
    kind = {"apiVersion": RAY_JOB.api_version, "kind": RAY_JOB.name}  # the items of a list lack both
    return [{**job, **kind} for job in found]


def _pod_selector(ray: Document) -> str:
    """Return a selector of the pods that need the other objects: of a service and trainings, or these."""
    instance = f"{INSTANCE_LABEL}={ray['metadata']['labels'][INSTANCE_LABEL]}"
    return instance if kind_of(ray) == RAY_SERVICE else f"{instance},{COMPONENT_LABEL}={TRAINING_COMPONENT}"


def _left(client: KubeRay, namespace: str, roots: Iterable[Document], pods: str) -> dict[str, list[str]]:
    """Return the remaining Ray objects and pods with these labels, each with its finalizers."""
    left: dict[str, list[str]] = {}

    def note(kind: ResourceKind, found: Iterable[Document]) -> None:
        for one in found:
            left[f"{kind.name} {one['metadata']['name']}"] = one["metadata"].get("finalizers") or []

    for root in roots:
        kind, name = RAY_KINDS[root["kind"].lower()], root["metadata"]["name"]
        if found := client.get_or_none(kind, namespace, name):
            note(kind, [found])
        note(RAY_CLUSTER, client.find(RAY_CLUSTER, namespace, f"{_ORIGIN}={name}"))
    note(POD, client.find(POD, namespace, pods))
    return left


def _names(left: Iterable[str]) -> str:
    names = list(left)
    more = f" and {len(names) - _SHOWN_MAX} more" if len(names) > _SHOWN_MAX else ""
    return ", ".join(names[:_SHOWN_MAX]) + more
