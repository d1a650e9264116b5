"""Idempotent start of a training's RayJob, which does not replace a different job with the same name."""

from __future__ import annotations

import time
from collections.abc import Callable

from cluster.errors import RayJobError, WaitError
from cluster.kuberay.client.client import Document, KubeRay
from cluster.kuberay.client.diff import difference
from cluster.kuberay.client.resources import RAY_JOB
from cluster.kuberay.client.status import progress

_GONE_S = 300.0
"""A failed job is deleted within seconds; its finalizer stops running parts first."""
_POLL_S = 1.0
_DIFFERENCES_MAX = 3


def start(
    client: KubeRay,
    job: Document,
    *,
    now: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> str:
    """Start a RayJob, or use an existing equal one; replace one that has failed.

    Args:
        client: Client of the cluster.
        job: Manifest of the RayJob. KubeRay reads a job's spec only when it starts.
        now: Returns monotonic seconds.
        pause: Sleeps for a number of seconds.

    Returns:
        A message on what was done.

    Raises:
        RayJobError: A different training with the same name exists.
        WaitError: The failed job was not deleted within some minutes.
        KubeError: See `cluster.errors`.
    """
    namespace, name = job["metadata"]["namespace"], job["metadata"]["name"]
    what = f"RayJob {namespace}/{name}"

    def find() -> Document | None:
        return client.get_or_none(RAY_JOB, namespace, name)

    live, done = find(), "started"
    if live is not None and not live["metadata"].get("deletionTimestamp"):
        stands = progress(live)
        planned = client.apply(job, force=True, dry_run=True)
        if changes := difference({"spec": live["spec"]}, {"spec": planned["spec"]}):
            shown = "; ".join(changes[:_DIFFERENCES_MAX])
            more = f"; {len(changes) - _DIFFERENCES_MAX} more" if len(changes) > _DIFFERENCES_MAX else ""
            raise RayJobError(
                f"{what} is a different training ({stands.summary}): {shown}{more}; set another "
                "training.version, which names the job, or delete this one with "
                f"`kubectl --namespace {namespace} delete rayjob {name}`"
            )
        if stands.state != "failed":
            return f"{what} joined"
        client.delete(RAY_JOB, namespace, name)
        done = "failed before and is started again"
    deadline = now() + _GONE_S
    while live is not None:
        if now() >= deadline:
            raise WaitError(f"{what} is not deleted after {_GONE_S:g} s; retry")
        pause(_POLL_S)
        live = find()
    client.apply(job)
    return f"{what} {done}"
