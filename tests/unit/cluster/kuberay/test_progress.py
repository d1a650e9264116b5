"""Where a Ray object stands, from what its status says."""

from typing import Any

import pytest

from cluster.kuberay.progress import progress


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
        ({}, "waiting", "coming up"),
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
            "30 % of the traffic on the new one",
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


def test_a_status_of_an_older_generation_says_nothing_yet() -> None:
    document = service({"conditions": [condition("Ready", "True")], "activeServiceStatus": RUNNING})
    document["status"]["observedGeneration"] = 2
    stands = progress(document)
    assert stands.state == "waiting" and "not seen" in stands.summary
    assert [str(one) for one in stands.conditions] == ["Ready=True (R)"]
