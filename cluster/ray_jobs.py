"""Client of Ray's job API, which starts a command on a running cluster as KubeRay does for a RayJob."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from cluster.errors import RayJobError
from cluster.rollout.metric_sources import auth_headers

_RUNNING = ("PENDING", "RUNNING")
_POLL_S = 1.0
_MAX_ANSWER_CHARS = 1000
_NO_AGENT = "No available agent"
_AGENT_PATIENCE_S = 120.0


class RayJobs:
    """Jobs of one Ray cluster.

    Args:
        dashboard: URL of the Ray dashboard, such as http://127.0.0.1:8265.
        client: HTTP client; the caller closes it.
        now: Returns monotonic seconds.
        pause: Sleeps for a number of seconds.
    """

    def __init__(
        self,
        dashboard: str,
        *,
        client: httpx.Client,
        now: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._url = f"{dashboard.rstrip('/')}/api/jobs/"
        self._client, self._now, self._pause = client, now, pause

    def run(
        self,
        name: str,
        command: str,
        *,
        variables: Mapping[str, str],
        timeout_s: float,
        on_progress: Callable[[str], None],
    ) -> None:
        """Run a command on the head node, and wait until it has succeeded.

        If a job with this name is running, wait for it; if it has succeeded, do not run it again; if it has
        failed, run it again.

        Args:
            name: Name of the job.
            command: Shell command.
            variables: Environment variables for every process of the job.
            timeout_s: Maximum total time in seconds; then the job is stopped.
            on_progress: Called with each line of the job's log.

        Raises:
            RayJobError: The job failed, was stopped or took too long, or the cluster does not respond.
        """
        status = self._status(name)
        if status not in (None, "SUCCEEDED", *_RUNNING):
            self._ask("DELETE", name)
            status = None
        if status is None:
            job = {"entrypoint": command, "submission_id": name, "runtime_env": {"env_vars": dict(variables)}}
            self._submit(job)
        deadline, reported = self._now() + timeout_s, 0
        while True:
            status = self._status(name)
            lines = str(self._ask("GET", f"{name}/logs")["logs"]).splitlines()
            # The last line of a running job may be incomplete.
            end = max(reported, len(lines) - 1) if status in _RUNNING else len(lines)
            for line in lines[reported:end]:
                on_progress(line)
            reported = end
            if status == "SUCCEEDED":
                return
            if status not in _RUNNING:
                raise RayJobError(
                    f"job {name} {str(status).lower()}: {self._message(name)}; its log is above"
                )
            if self._now() >= deadline:
                self._ask("POST", f"{name}/stop")
                raise RayJobError(
                    f"job {name} was stopped: not finished within {timeout_s:.0f} s; raise "
                    "training.deadline_s"
                )
            self._pause(_POLL_S)

    def _submit(self, job: dict[str, Any]) -> None:
        """Start a job, with retries while a cluster that has just started has no job agent yet."""
        patience = self._now() + _AGENT_PATIENCE_S
        while True:
            try:
                self._ask("POST", "", json=job)
                return
            except RayJobError as error:
                if _NO_AGENT not in str(error) or self._now() >= patience:
                    raise
            self._pause(_POLL_S)

    def _status(self, name: str) -> str | None:
        """Return the status of a job, or None if it does not exist."""
        found = self._ask("GET", name, missing=True)
        return str(found["status"]) if found else None

    def _message(self, name: str) -> str:
        return str(self._ask("GET", name).get("message") or "no message")

    def _ask(self, method: str, path: str, *, missing: bool = False, **options: Any) -> dict[str, Any]:
        """Return the API's response; empty for a job that does not exist if `missing` allows it."""
        url = f"{self._url}{path}"
        try:
            answer = self._client.request(method, url, headers=auth_headers(os.environ), **options)
        except httpx.HTTPError as error:
            raise RayJobError(
                f"no answer from {url}: {error!r}; check --dashboard and the cluster"
            ) from error
        if missing and answer.status_code == httpx.codes.NOT_FOUND:
            return {}
        if not answer.is_success:
            raise RayJobError(f"{url} responded with {answer.status_code}: {answer.text[:_MAX_ANSWER_CHARS]}")
        try:
            document: Any = answer.json()
        except ValueError as error:
            raise RayJobError(f"{url} is not Ray's job API: {error}; check --dashboard") from error
        return document if isinstance(document, dict) else {}
