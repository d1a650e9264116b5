"""Jobs of a running Ray cluster, over the dashboard's job API: as KubeRay starts a RayJob's command."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from cluster.errors import JobFailed
from cluster.rollout.samples import auth_headers

_RUNNING = ("PENDING", "RUNNING")
_LOOK_S = 1.0
_SAID_CHARS = 1000
_NO_AGENT = "No available agent"
_AGENT_PATIENCE_S = 120.0


class RayJobs:
    """The jobs of one cluster.

    Args:
        dashboard: address of the Ray dashboard, e.g. http://127.0.0.1:8265.
        client: speaks HTTP; the caller's to close.
        now: a clock, seconds.
        pause: waits for seconds.
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
        tell: Callable[[str], None],
    ) -> None:
        """Run a command on the head, and wait until it has ended well.

        A job of this name that runs is joined, one that succeeded is not run again, one that failed is.

        Args:
            name: of the job.
            command: a line for the shell.
            variables: of its environment, for every process of the job.
            timeout_s: in all; then it is stopped.
            tell: told each line of its log.

        Raises:
            JobFailed: it failed, was stopped, took too long, or the cluster does not answer.
        """
        status = self._status(name)
        if status not in (None, "SUCCEEDED", *_RUNNING):
            self._ask("DELETE", name)
            status = None
        if status is None:
            job = {"entrypoint": command, "submission_id": name, "runtime_env": {"env_vars": dict(variables)}}
            self._submit(job)
        deadline, told = self._now() + timeout_s, 0
        while True:
            status = self._status(name)
            lines = str(self._ask("GET", f"{name}/logs")["logs"]).splitlines()
            # The last line may still be being written.
            upto = max(told, len(lines) - 1) if status in _RUNNING else len(lines)
            for line in lines[told:upto]:
                tell(line)
            told = upto
            if status == "SUCCEEDED":
                return
            if status not in _RUNNING:
                raise JobFailed(f"job {name} {str(status).lower()}: {self._message(name)}; its log is above")
            if self._now() >= deadline:
                self._ask("POST", f"{name}/stop")
                raise JobFailed(
                    f"job {name} was stopped: not done in {timeout_s:.0f} s (training.deadline_s)"
                )
            self._pause(_LOOK_S)

    def _submit(self, job: dict[str, Any]) -> None:
        """Start a job; a cluster that has just started has no agent for it yet, and is asked again."""
        patience = self._now() + _AGENT_PATIENCE_S
        while True:
            try:
                self._ask("POST", "", json=job)
                return
            except JobFailed as error:
                if _NO_AGENT not in str(error) or self._now() >= patience:
                    raise
            self._pause(_LOOK_S)

    def _status(self, name: str) -> str | None:
        """The job's, or None if there is none of that name."""
        found = self._ask("GET", name, missing=True)
        return str(found["status"]) if found else None

    def _message(self, name: str) -> str:
        return str(self._ask("GET", name).get("message") or "no message")

    def _ask(self, method: str, path: str, *, missing: bool = False, **options: Any) -> dict[str, Any]:
        """An answer of the API; empty if there is no such job and that may be."""
        url = f"{self._url}{path}"
        try:
            answer = self._client.request(method, url, headers=auth_headers(os.environ), **options)
        except httpx.HTTPError as error:
            raise JobFailed(f"no answer from {url}: {error!r}; check --dashboard and the cluster") from error
        if missing and answer.status_code == httpx.codes.NOT_FOUND:
            return {}
        if not answer.is_success:
            raise JobFailed(f"{url} answered {answer.status_code}: {answer.text[:_SAID_CHARS]}")
        try:
            document: Any = answer.json()
        except ValueError as error:
            raise JobFailed(f"{url} is not Ray's job API: {error}; check --dashboard") from error
        return document if isinstance(document, dict) else {}
