"""Tests of jobs on a Ray cluster: started once, joined, restarted after failures, stopped at a time limit."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from cluster.errors import RayJobError
from cluster.ray_jobs import RayJobs


@dataclass
class Dashboard:
    """Fake of Ray's job API with one job, whose status advances with each request."""

    ahead: list[str] = field(default_factory=lambda: ["PENDING", "RUNNING", "RUNNING", "SUCCEEDED"])
    job: dict[str, Any] | None = None
    calls: list[str] = field(default_factory=list)
    log: str = ""
    now: float = 0.0
    agent_from_s: float = 0.0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/jobs/")
        self.calls.append(f"{request.method} {path}")
        if request.method == "POST" and not path:
            if self.now < self.agent_from_s:
                return httpx.Response(500, text="No available agent to submit job, please try again later.")
            self.job = json.loads(request.content)
            return httpx.Response(200, json={"submission_id": self.job["submission_id"]})
        if path.endswith("/stop"):
            return httpx.Response(200, json={"stopped": True})
        if self.job is None:
            return httpx.Response(404, text="no such job")
        if request.method == "DELETE":
            self.job = None
            return httpx.Response(200, json={"deleted": True})
        if path.endswith("/logs"):
            return httpx.Response(200, json={"logs": self.log})
        status = self.ahead.pop(0) if len(self.ahead) > 1 else self.ahead[0]
        self.log += f"{status.lower()} line\n"
        return httpx.Response(200, json={"status": status, "message": f"it {status.lower()}"})

    def run(self, timeout_s: float = 100.0) -> list[str]:
        told: list[str] = []

        def pause(seconds: float) -> None:
            self.now += seconds

        with httpx.Client(transport=httpx.MockTransport(self)) as client:
            jobs = RayJobs("http://ray:8265/", client=client, now=lambda: self.now, pause=pause)
            jobs.run(
                "train-1", "true && true", variables={"A": "1"}, timeout_s=timeout_s, on_progress=told.append
            )
        return told


def test_a_job_is_started_and_every_line_of_its_log_is_told_once() -> None:
    dashboard = Dashboard()
    told = dashboard.run()
    assert dashboard.job is not None
    assert dashboard.job["entrypoint"] == "true && true"
    assert dashboard.job["runtime_env"] == {"env_vars": {"A": "1"}}
    assert told == ["pending line", "running line", "running line", "succeeded line"]


def test_a_cluster_that_has_just_started_is_asked_again() -> None:
    dashboard = Dashboard(agent_from_s=5.0)
    assert dashboard.run()[-1] == "succeeded line"
    assert dashboard.calls.count("POST ") == 6

    with pytest.raises(RayJobError, match="No available agent"):
        Dashboard(agent_from_s=1e9).run()


def test_a_job_that_runs_is_joined() -> None:
    dashboard = Dashboard(job={"submission_id": "train-1"})
    dashboard.run()
    assert "POST " not in dashboard.calls


def test_a_job_that_succeeded_is_not_run_again() -> None:
    dashboard = Dashboard(["SUCCEEDED"], {"submission_id": "train-1"})
    dashboard.run()
    assert "POST " not in dashboard.calls


def test_a_job_that_failed_before_is_started_anew() -> None:
    dashboard = Dashboard(["FAILED", "RUNNING", "SUCCEEDED"], {"submission_id": "train-1"})
    dashboard.run()
    assert [call for call in dashboard.calls if not call.startswith("GET")] == ["DELETE train-1", "POST "]


@pytest.mark.parametrize("end", ["FAILED", "STOPPED"])
def test_a_job_that_fails_is_an_error_with_what_ray_says(end: str) -> None:
    with pytest.raises(RayJobError, match=f"train-1 {end.lower()}: it {end.lower()}"):
        Dashboard(["RUNNING", end]).run()


def test_a_job_that_takes_too_long_is_stopped() -> None:
    dashboard = Dashboard(["RUNNING"])
    with pytest.raises(RayJobError, match="not finished within 5 s"):
        dashboard.run(timeout_s=5)
    assert dashboard.calls[-1] == "POST train-1/stop"


def test_no_cluster_and_no_api_are_named() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    for answer, said in (
        (refuse, "no answer"),
        (lambda _: httpx.Response(200, text="<p>"), "not Ray's job API"),
    ):
        with (
            httpx.Client(transport=httpx.MockTransport(answer)) as client,
            pytest.raises(RayJobError, match=said),
        ):
            RayJobs("http://ray:8265", client=client).run(
                "x", "true", variables={}, timeout_s=1, on_progress=lambda _: None
            )
