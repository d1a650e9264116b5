"""Tests of the causes that keep an object from being ready.

The inputs are responses recorded from a real API server, and states of a pod. `recorded/*.json`:
kube-apiserver 1.36.2 with the KubeRay operator 1.7.0, shortened to the fields that are read. The states of
containers that need a container runtime have the reasons and messages of the kubelet's source.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.kuberay.diagnosis.causes import GATEWAY_API, RelatedObjects, causes, lines
from cluster.kuberay.diagnosis.waiting import CERTAIN_S, CauseReport

RECORDED = Path(__file__).parent / "recorded"


def recorded(name: str, **more: Any) -> RelatedObjects:
    return RelatedObjects(**{**json.loads((RECORDED / f"{name}.json").read_text()), **more})


@pytest.mark.parametrize(
    ("name", "more", "is_final", "says"),
    [
        (
            "autoscaler-ended",
            {
                "last_lines": {
                    ("sentiment-mjb28-head-kwfn9", "autoscaler"): "Traceback\nHTTPError: 404 for url"
                }
            },
            True,
            "pod sentiment-mjb28-head-kwfn9: container autoscaler ended with exit code 1; its log ends with: "
            "HTTPError: 404 for url; nothing restarts it",
        ),
        ("head-ended", {}, False, "a head pod ended with exit code 2 and was replaced at"),
        (
            "head-ended",
            {"last_lines": {("sentiment-9c6vx-head-pt45c", "ray-head"): "Error: Invalid value for '--port'"}},
            False,
            "container ray-head ended with exit code 2; its log ends with: Error: Invalid value for '--port'",
        ),
        ("unschedulable", {}, False, "cannot be scheduled: 0/4 nodes are available: 2 Insufficient cpu, "),
        (
            "unbound-claim",
            {},
            True,
            "claim training: no persistent volumes available for this claim and no st",
        ),
        ("no-claim", {}, True, 'persistentvolumeclaim "training" not found'),
        (
            "no-service-account",
            {"absent": ["ServiceAccount sentiment"]},
            True,
            "ServiceAccount sentiment does not exist",
        ),
        (
            "no-service-account-job",
            {"absent": ["ServiceAccount sentiment-training"]},
            True,
            "ServiceAccount sentiment-training does not exist",
        ),
        # The account exists now, but the operator has not retried yet.
        ("no-service-account-job", {}, False, 'serviceaccount "sentiment-training" not found'),
        ("unschedulable", {"absent": [GATEWAY_API]}, True, "CRDs are not installed"),
    ],
)
def test_a_recorded_state(name: str, more: dict[str, Any], is_final: bool, says: str) -> None:
    told = [(line, cause.is_final) for cause in causes(recorded(name, **more)) for line in lines([cause])]
    assert any(says in line and final == is_final for line, final in told), told
    assert any(final for _, final in told) == is_final, told


def test_the_account_that_is_missing_is_reported_once() -> None:
    found = causes(recorded("no-service-account-job", absent=["ServiceAccount sentiment-training"]))
    assert len(found) == 1


SERVICE: dict[str, Any] = {"kind": "RayService", "metadata": {"name": "s"}}
POD: dict[str, Any] = {
    "metadata": {"name": "w", "uid": "1", "labels": {"ray.io/cluster": "c"}},
    "spec": {"containers": [{"name": "ray-worker"}], "restartPolicy": "Always"},
}


def pod_with(container: dict[str, Any], *, policy: str = "Always", phase: str = "Pending") -> dict[str, Any]:
    status = {"phase": phase, "containerStatuses": [{"name": "ray-worker", **container}]}
    return {**POD, "spec": {**POD["spec"], "restartPolicy": policy}, "status": status}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"state": {"waiting": {"reason": reason, "message": message}}}


def ended(code: int, reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason}}


def crashed(times: int, code: int = 1, reason: str = "Error") -> dict[str, Any]:
    return {**waiting("CrashLoopBackOff"), "lastState": ended(code, reason), "restartCount": times}


NOT_FOUND = (
    'Back-off pulling image "r/s:1": ErrImagePull: failed to resolve reference "r/s:1": r/s:1: not found'
)
TIMED_OUT = 'Back-off pulling image "r/s:1": ErrImagePull: dial tcp 10.0.0.1:443: i/o timeout'
LIMITED = "toomanyrequests: You have reached your pull rate limit"


@pytest.mark.parametrize(
    ("container", "is_final", "says"),
    [
        (waiting("ImagePullBackOff", NOT_FOUND), True, "ImagePullBackOff: Back-off pulling image"),
        (waiting("ErrImagePull", "pull access denied, 401 Unauthorized"), True, "401 Unauthorized"),
        (waiting("ImagePullBackOff", TIMED_OUT), False, "i/o timeout"),
        (waiting("ErrImagePull", LIMITED), False, "toomanyrequests"),
        (waiting("InvalidImageName", "couldn't parse image name"), True, "couldn't parse image name"),
        (waiting("CreateContainerConfigError", 'secret "redis-password" not found'), True, "redis-password"),
        (waiting("CreateContainerError", "context deadline exceeded"), False, "deadline exceeded"),
        (crashed(1), False, "restarted 1 times, the last time after exit code 1"),
        (crashed(5), True, "restarted 5 times"),
        (crashed(2, 137, "OOMKilled"), False, "exit code 137 (OOMKilled)"),
        (crashed(3, 137, "OOMKilled"), True, "exit code 137 (OOMKilled)"),
        ({"state": ended(137, "OOMKilled"), "restartCount": 3}, True, "exit code 137 (OOMKilled)"),
    ],
)
def test_a_container(container: dict[str, Any], is_final: bool, says: str) -> None:
    (cause,) = causes(RelatedObjects(SERVICE, pods=[pod_with(container)]))
    assert cause.is_final == is_final and says in cause.text and cause.subject == "pod w"


@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing"])
def test_what_is_on_its_way_is_no_cause(reason: str) -> None:
    assert causes(RelatedObjects(SERVICE, pods=[pod_with(waiting(reason))])) == ()


def test_a_pod_that_was_asked_to_end_is_no_cause() -> None:
    pod = pod_with({"state": ended(143)}, policy="Never", phase="Running")
    pod["metadata"] = {**pod["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}
    assert causes(RelatedObjects(SERVICE, pods=[pod])) == ()


def mount_failed(at: str, secret: str = "api-keys") -> RelatedObjects:
    message = f'MountVolume.SetUp failed for volume "api-keys" : secret "{secret}" not found'
    about = {"involvedObject": {"uid": "1"}, "metadata": {}}
    event = {**about, "reason": "FailedMount", "message": message, "lastTimestamp": at}
    pod = pod_with(waiting("ContainerCreating"))
    return RelatedObjects(SERVICE, pods=[pod], events=[event])


def test_a_mount_that_fails_is_a_cause_until_the_pod_runs() -> None:
    evidence = mount_failed("2026-01-01T00:00:00Z")
    (cause,) = causes(evidence)
    assert cause.is_final and 'FailedMount: MountVolume.SetUp failed for volume "api-keys"' in cause.text
    running = pod_with({"state": {"running": {}}, "ready": False}, phase="Running")
    assert causes(RelatedObjects(evidence.document, pods=[running], events=evidence.events)) == ()


MESSAGE = """The deployment failed to start 3 times in a row. See controller logs for details. Error:
\x1b[36mray::ServeReplica:sentiment:classifier.initialize_and_get_metadata()\x1b[39m (pid=9, ip=10.0.0.7)
  File "/app/serve_app/replica/deployment.py", line 40, in __init__
    self._load()
RuntimeError: Traceback (most recent call last):
  File "/app/serve_app/model.py", line 12, in load
    torch._C._cuda_init()
RuntimeError: Found no NVIDIA driver on your system.
Please check that you have an NVIDIA GPU.
"""


def application(status: str, deployment: str, message: str = MESSAGE) -> RelatedObjects:
    deployments = {"classifier": {"status": deployment, "message": message}}
    said = {"status": status, "message": "Failed to update the deployments ['classifier']."}
    service = {"applicationStatuses": {"sentiment": {**said, "serveDeploymentStatuses": deployments}}}
    return RelatedObjects({**SERVICE, "status": {"pendingServiceStatus": service}})


def test_a_deployments_own_exception_is_the_cause() -> None:
    (cause,) = causes(application("DEPLOY_FAILED", "DEPLOY_FAILED"))
    assert cause.is_final and cause.subject == "deployment classifier"
    assert cause.text == (
        "RuntimeError: Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU."
    )
    (again,) = causes(application("DEPLOYING", "UPDATING"))
    assert again.text == cause.text and not again.is_final
    assert causes(application("RUNNING", "HEALTHY", "")) == ()


def test_what_the_operator_refuses_is_a_cause_although_it_has_not_observed_it() -> None:
    refused = {"type": "Ready", "status": "False", "reason": "ValidationFailed", "message": "name too long"}
    document = {
        "kind": "RayService",
        "metadata": {"name": "s", "generation": 2},
        "status": {"conditions": [refused]},
    }
    (cause,) = causes(RelatedObjects(document))
    assert cause.is_final and "name too long" in cause.text


def test_a_final_cause_ends_the_wait_once_it_has_held_and_is_reported_at_once() -> None:
    told: list[str] = []
    report, evidence = CauseReport(told.append), recorded("unbound-claim")
    assert not report.add(evidence, 100.0)
    assert sum("claim training" in line for line in told) == 1
    assert not report.add(evidence, 100.0 + CERTAIN_S - 1)
    assert report.add(evidence, 100.0 + CERTAIN_S)
    assert "claim training" in report.lines[-1] and len(told) == len(set(told))


def test_a_final_cause_that_was_overcome_begins_anew() -> None:
    report, evidence = CauseReport(lambda line: None), recorded("unbound-claim")
    assert not report.add(evidence, 0.0)
    assert not report.add(recorded("unschedulable"), 5.0)
    assert not report.add(evidence, CERTAIN_S)


def test_a_failed_attempt_counts_only_when_it_fails_again() -> None:
    told: list[str] = []
    report = CauseReport(told.append)
    assert not report.add(mount_failed("2026-01-01T00:00:00Z"), 0.0)
    assert not report.add(mount_failed("2026-01-01T00:00:00Z"), 10 * CERTAIN_S)
    assert report.add(mount_failed("2026-01-01T00:02:00Z"), 11 * CERTAIN_S)
    assert len(told) == 1


def test_pods_that_end_alike_end_the_wait_and_others_do_not() -> None:
    def replaced(name: str, code: int) -> RelatedObjects:
        pod = pod_with({"state": ended(code)}, policy="Never", phase="Failed")
        pod["metadata"] = {**POD["metadata"], "name": name}
        return RelatedObjects(SERVICE, pods=[pod])

    report = CauseReport(lambda line: None)
    assert not any(report.add(replaced("a", 1), now) for now in (0.0, 100.0, 200.0))
    assert not report.add(replaced("b", 1), 300.0)
    assert not report.add(replaced("c", 2), 400.0)
    assert report.add(replaced("d", 1), 500.0)


def test_what_may_not_be_read_is_reported_once() -> None:
    told: list[str] = []
    report = CauseReport(told.append)
    for now in (0.0, 5.0):
        report.add(recorded("unschedulable", unread=("events",)), now)
    assert sum("not allowed to read events" in line for line in told) == 1
