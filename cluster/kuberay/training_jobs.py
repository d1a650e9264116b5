"""Starting a training's RayJob: once, however often it is asked for; a different job of that name stays."""

from __future__ import annotations

import time
from collections.abc import Callable

from cluster.errors import JobFailed, WaitFailed
from cluster.kuberay.client import Document, KubeRay
from cluster.kuberay.difference import difference
from cluster.kuberay.kinds import RAY_JOB
from cluster.kuberay.progress import progress

_GONE_S = 300.0
"""A failed job is deleted in seconds; its finalizer stops what still runs."""
_POLL_S = 1.0
_DIFFERENCES_MAX = 3


def start(
    client: KubeRay,
    job: Document,
    *,
    now: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> str:
    """Start a RayJob, or join the one that is the same; one that failed is replaced.

    Args:
        client: of the cluster.
        job: the RayJob's manifest. KubeRay reads a job's spec only when it starts.
        now: a clock, seconds.
        pause: waits for seconds.

    Returns:
        What was done, a line for people.

    Raises:
        JobFailed: there is a different training of that name.
        WaitFailed: the failed job is still there some minutes after it was deleted.
        KubeError: see `cluster.errors`.
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
            raise JobFailed(
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
            raise WaitFailed(f"{what} is being deleted, and still there after {_GONE_S:g} s; try again")
        pause(_POLL_S)
        live = find()
    client.apply(job)
    return f"{what} {done}"
