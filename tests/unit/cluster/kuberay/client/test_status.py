"""Tests of the readiness that is derived from the status of a Ray object."""

from typing import Any

import pytest

from cluster.kuberay.client.status import progress


def service(status: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": "RayService",
        "metadata": {"generation": 3},
        "status": {"observedGeneration": 3, **status},
    }


def condition(type_: str, status: str, reason: str = "R", message: str = "") -> dict[str, str]:
    return {"type": type_, "status": status, "reason": reason, "message": message}


RUNNING = {"applicationStatuses": {"sentiment": {"status": "RUNNING"}}}


@pytest.mark.parametrize(
    ("status", "state", "says"),
    [
        ({}, "waiting", "starting"),
        (
            {
                "conditions": [condition("Ready", "True")],
                "activeServiceStatus": RUNNING,
                "numServeEndpoints": 4,
            },
            "ready",
            "4 endpoints; sentiment running",
        ),
        (
            {
                "conditions": [condition("Ready", "True"), condition("UpgradeInProgress", "True")],
                "activeServiceStatus": RUNNING,
                "pendingServiceStatus": {"trafficRoutedPercent": 30},
            },
            "waiting",
            "which serves 30 % of the traffic",
        ),
        (
            {
                "conditions": [condition("Ready", "True")],
                "activeServiceStatus": {"applicationStatuses": {"sentiment": {"status": "UNHEALTHY"}}},
            },
            "waiting",
            "sentiment unhealthy",
        ),
        ({"conditions": [condition("Ready", "False", "ValidationFailed", "bad name")]}, "failed", "bad name"),
        (
            {"conditions": [condition("Ready", "False", "InitializingTimeout", "not ready in 1h")]},
            "failed",
            "delete it and apply it again",
        ),
        (
            {"activeServiceStatus": {"applicationStatuses": {"sentiment": {"status": "DEPLOY_FAILED"}}}},
            "failed",
            "no message",
        ),
    ],
)
def test_a_service(status: dict[str, Any], state: str, says: str) -> None:
    stands = progress(service(status))
    assert stands.state == state
    assert says in stands.summary


@pytest.mark.parametrize(
    ("endpoints", "deployment", "state", "says"),
    [
        (1, "UPDATING", "waiting", "1 of 3 pods ready"),
        (2, "HEALTHY", "waiting", "2 of 3 pods ready"),
        (3, "HEALTHY", "ready", "3 endpoints"),
        (3, "UPSCALING", "waiting", "classifier upscaling"),  # the autoscaler requests more replicas
        (4, "DOWNSCALING", "ready", "4 endpoints"),
        (3, "UNHEALTHY", "waiting", "classifier unhealthy"),
    ],
)
@pytest.mark.parametrize("options", ["autoscaling_config: {min_replicas: 3}", "num_replicas: 3"])
def test_a_service_is_ready_with_as_many_pods_as_it_should_have(
    endpoints: int, deployment: str, state: str, says: str, options: str
) -> None:
    application = {"status": "RUNNING", "serveDeploymentStatuses": {"classifier": {"status": deployment}}}
    document = service(
        {
            "conditions": [condition("Ready", "True")],
            "activeServiceStatus": {"applicationStatuses": {"sentiment": application}},
            "numServeEndpoints": endpoints,
        }
    )
    config = f"applications: [{{name: sentiment, deployments: [{{name: classifier, {options}}}]}}]"
    stands = progress({**document, "spec": {"serveConfigV2": config}})
    assert stands.state == state and says in stands.summary


def test_a_status_of_an_older_generation_says_nothing_yet() -> None:
    document = service({"conditions": [condition("Ready", "True")], "activeServiceStatus": RUNNING})
    document["status"]["observedGeneration"] = 2
    stands = progress(document)
    assert stands.state == "waiting" and "not processed" in stands.summary
    assert [str(one) for one in stands.conditions] == ["Ready=True (R)"]


@pytest.mark.parametrize(
    ("updated", "state"), [("2026-01-01T00:00:05Z", "failed"), ("2026-01-01T00:00:03Z", "waiting")]
)
def test_a_refused_service_has_no_observed_generation_and_is_told_by_its_times(
    updated: str, state: str
) -> None:
    refused = condition("Ready", "False", "ValidationFailed", "bad name")
    document = service({"conditions": [refused], "lastUpdateTime": updated})
    del document["status"]["observedGeneration"]
    document["metadata"]["managedFields"] = [
        {"manager": "us", "time": "2026-01-01T00:00:04Z"},
        {"manager": "operator", "time": "2026-01-01T00:00:09Z", "subresource": "status"},
    ]
    assert progress(document).state == state


@pytest.mark.parametrize(
    ("kind", "status", "state"),
    [
        ("RayJob", {}, "waiting"),
        ("RayJob", {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}, "waiting"),
        ("RayJob", {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}, "ready"),
        ("RayJob", {"jobDeploymentStatus": "Complete", "jobStatus": "STOPPED"}, "failed"),
        ("RayJob", {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED"}, "failed"),
        ("RayJob", {"jobDeploymentStatus": "ValidationFailed", "message": "bad name"}, "failed"),
        ("RayCluster", {"state": "ready", "observedGeneration": 2}, "ready"),
    ],
)
def test_kinds_whose_observed_generation_stays_behind_are_read_without_it(
    kind: str, status: dict[str, Any], state: str
) -> None:
    assert progress({"kind": kind, "metadata": {"generation": 3}, "status": status}).state == state
