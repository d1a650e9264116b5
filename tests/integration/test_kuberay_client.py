"""Tests of the client with a faulty API: it succeeds, or reports the reason."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kubernetes import config

from cluster.__main__ import main
from cluster.errors import (
    ApiServerError,
    ClusterUnreachableError,
    ConflictError,
    ForbiddenError,
    KubeError,
    ObjectNotFoundError,
    ObjectRejectedError,
    UnknownKindError,
    WaitError,
)
from cluster.kuberay.client.client import FIELD_MANAGER, ClientTiming, KubeRay
from cluster.kuberay.client.diff import difference
from cluster.kuberay.client.field_ownership import ROLLOUT_MANAGER, SERVE_CONFIG
from cluster.kuberay.client.resources import RAY_CLUSTER, RAY_JOB, RAY_SERVICE, SERVICE_ACCOUNT
from cluster.kuberay.manifests.render import service_documents, training_documents
from cluster.kuberay.settings import read_environment
from serve_app.dev_server.launcher import free_port
from tests.buildspecs import run
from tests.integration.kube_api import DROP, GONE, KubeApi, kube_api
from tests.integration.kube_client import client_of, write_kubeconfig

NAMESPACE, NAME = "sentiment", "sentiment"
PATH = RAY_SERVICE.path(NAMESPACE, NAME)
CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/0a1b"
ACCOUNTS = {SERVICE_ACCOUNT.path(NAMESPACE, name) for name in ("sentiment", "sentiment-training")}
"""Service accounts without which every wait ends, since no pod can be created."""
GATEWAY = ("upgrade.type=NewClusterWithIncrementalUpgrade", "upgrade.gateway_class=istio")
READY = {
    "conditions": [
        {"type": "Ready", "status": "True", "reason": "NonZeroServeEndpoints", "message": ""},
        {"type": "UpgradeInProgress", "status": "False", "reason": "NoPendingCluster", "message": ""},
    ],
    "activeServiceStatus": {
        "rayClusterName": "sentiment-abcde",
        "applicationStatuses": {"sentiment": {"status": "RUNNING"}},
    },
    "numServeEndpoints": 2,
}
STARTING = {
    "conditions": [
        {"type": "Ready", "status": "False", "reason": "ZeroServeEndpoints", "message": "no endpoint yet"}
    ],
    "pendingServiceStatus": {"applicationStatuses": {"sentiment": {"status": "DEPLOYING"}}},
}


@dataclass
class Clock:
    """Clock whose time advances only during pauses."""

    time_s: float = 1000.0
    pauses: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.time_s

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.time_s += max(seconds, 0.01)


@pytest.fixture
def api() -> Iterator[KubeApi]:
    with kube_api() as running:
        for path in ACCOUNTS:
            running.put(path, {"metadata": {"name": path.rpartition("/")[2]}})
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


def patient(clock: Clock, **limits: float) -> ClientTiming:
    return ClientTiming(now=clock.now, pause=clock.pause, **limits)


@pytest.fixture
def client(api: KubeApi, clock: Clock) -> KubeRay:
    return client_of(api.url, patient(clock))


def service(*changes: str) -> dict[str, Any]:
    return service_documents(read_environment("prod", changes))[-1]


def test_everything_of_an_environment_is_applied_and_a_second_time_changes_nothing(
    api: KubeApi, client: KubeRay
) -> None:
    environment = read_environment("prod")
    documents = [*service_documents(environment), *training_documents(environment)[-1:]]
    for document in documents:
        client.apply(document)
    assert len(api.objects) == len(documents)
    assert api.objects[PATH]["spec"] == service()["spec"]
    version = api.version
    for document in documents:
        client.apply(document)
    assert api.version == version


def test_what_is_left_out_later_is_removed_and_what_others_set_stays(api: KubeApi, client: KubeRay) -> None:
    client.apply(service(*GATEWAY))
    client.apply(
        {**_head(), "metadata": {**_head()["metadata"], "annotations": {"team": "nlp"}}}, manager="people"
    )
    client.apply(service("upgrade.type=NewCluster"))
    stored = api.objects[PATH]
    assert stored["spec"]["upgradeStrategy"] == {"type": "NewCluster"}
    assert stored["metadata"]["annotations"]["team"] == "nlp"


def _head() -> dict[str, Any]:
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
    }


def test_a_conflict_names_the_field_and_its_manager_and_force_takes_it(api: KubeApi, client: KubeRay) -> None:
    client.apply(service())
    canary = {**_head(), "spec": {"serveConfigV2": "applications: []\n"}}
    client.apply(canary, manager="sentiment-rollout", force=True)
    with pytest.raises(ConflictError, match=r"serveConfigV2.*sentiment-rollout"):
        client.apply(service())
    assert api.objects[PATH]["spec"]["serveConfigV2"] == "applications: []\n"
    client.apply(service(), force=True)
    assert api.objects[PATH]["spec"]["serveConfigV2"] == service()["spec"]["serveConfigV2"]
    with pytest.raises(ConflictError, match=FIELD_MANAGER):
        client.apply(canary, manager="sentiment-rollout")


def test_a_dry_run_changes_nothing_and_shows_the_difference(api: KubeApi, client: KubeRay) -> None:
    client.apply(service(*GATEWAY))
    before = client.get(RAY_SERVICE, NAMESPACE, NAME)
    assert difference(before, client.apply(service(*GATEWAY), dry_run=True)) == []
    after = client.apply(service(*GATEWAY, "upgrade.step_percent=20", "serve.max_pods=8"), dry_run=True)
    assert difference(before, after) == [
        "spec.upgradeStrategy.clusterUpgradeOptions.stepSizePercent: 10 -> 20",
        "spec.serveConfigV2:",
        "  -       max_replicas: 16",
        "  +       max_replicas: 8",
    ]
    assert api.objects[PATH]["spec"] == service(*GATEWAY)["spec"]


def test_no_crd_is_told_from_no_object(api: KubeApi, client: KubeRay) -> None:
    with pytest.raises(ObjectNotFoundError, match='rayservices "sentiment" not found'):
        client.get(RAY_SERVICE, NAMESPACE, NAME)
    api.absent = {"ray.io"}
    with pytest.raises(UnknownKindError, match="CRD is not installed"):
        client.get(RAY_SERVICE, NAMESPACE, NAME)
    with pytest.raises(UnknownKindError, match="CRD is not installed"):
        client.apply(service())


def test_who_may_not_is_told_so(api: KubeApi, client: KubeRay, clock: Clock) -> None:
    api.denied = {"rayservices"}
    with pytest.raises(ForbiddenError, match='User "tester" cannot patch'):
        client.apply(service())
    with pytest.raises(ForbiddenError, match="not authenticated"):
        client_of(api.url, patient(clock), token="wrong").get(RAY_SERVICE, NAMESPACE, NAME)
    assert clock.pauses == [], "asking again would not help"


def test_what_the_server_refuses_is_told_with_the_field(api: KubeApi, client: KubeRay) -> None:
    api.invalid = ("spec.rayClusterConfig", "Required value")
    with pytest.raises(ObjectRejectedError, match=r"spec\.rayClusterConfig: Required value"):
        client.apply(service())


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_that_recovers_is_asked_again(
    api: KubeApi, client: KubeRay, clock: Clock, status: int
) -> None:
    api.statuses = [status] * 3
    client.apply(service())
    assert PATH in api.objects
    assert clock.pauses == [0.2, 0.4, 0.8]


def test_a_server_that_does_not_recover_is_given_up(api: KubeApi, clock: Clock) -> None:
    api.statuses = [500] * 1000
    began = clock.now()
    with pytest.raises(ApiServerError, match="500: etcdserver: leader changed"):
        client_of(api.url, patient(clock, patience_s=20.0)).apply(service())
    assert clock.now() - began <= 20.0


def test_nobody_listens(clock: Clock) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(ClusterUnreachableError, match=r"does not answer.*refused"):
        client_of(url, patient(clock)).get(RAY_SERVICE, NAMESPACE, NAME)


def test_a_server_that_never_answers_is_given_up(api: KubeApi, clock: Clock) -> None:
    api.hang.set()
    with pytest.raises(ClusterUnreachableError, match="timed out"):
        client_of(api.url, patient(clock, read_s=0.2, patience_s=0.5)).get(RAY_SERVICE, NAMESPACE, NAME)


def wait(client: KubeRay, timeout_s: float = 600.0) -> list[str]:
    told: list[str] = []
    client.wait(RAY_SERVICE, NAMESPACE, NAME, timeout_s=timeout_s, on_progress=told.append)
    return told


def test_waiting_tells_each_step_and_ends_when_it_is_ready(api: KubeApi, client: KubeRay) -> None:
    client.apply(service())
    api.script = [lambda: api.set_status(PATH, STARTING), lambda: api.set_status(PATH, READY)]
    assert wait(client) == [
        "the operator has not processed this version yet",
        "sentiment deploying",
        "2 endpoints; sentiment running",
    ]
    assert api.watches == 1


@pytest.mark.parametrize("fault", [DROP, GONE])
def test_a_watch_that_breaks_is_begun_anew(api: KubeApi, client: KubeRay, fault: str) -> None:
    client.apply(service())
    api.script = [
        fault,
        lambda: api.set_status(PATH, STARTING),
        fault,
        fault,
        lambda: api.set_status(PATH, READY),
    ]
    assert wait(client)[-1] == "2 endpoints; sentiment running"
    assert api.watches == 4


def test_what_happened_while_no_watch_ran_is_not_missed(api: KubeApi, client: KubeRay) -> None:
    client.apply(service())

    def ready_unseen() -> None:
        api.set_status(PATH, READY)
        api.changed.clear()

    api.script = [ready_unseen, DROP]
    assert wait(client)[-1] == "2 endpoints; sentiment running"


def test_errors_between_watches_do_not_end_the_waiting(api: KubeApi, client: KubeRay) -> None:
    client.apply(service())

    def fail_a_while() -> None:
        api.statuses = [500, 503]

    api.script = [fail_a_while, DROP, lambda: api.set_status(PATH, READY)]
    assert wait(client)[-1] == "2 endpoints; sentiment running"


def test_a_status_of_the_version_before_is_not_ready(api: KubeApi, client: KubeRay) -> None:
    client.apply(service())
    api.set_status(PATH, READY)
    client.apply(service("serve.model=s3://models/senti/8"))
    api.script = [lambda: api.set_status(PATH, READY)]
    assert wait(client) == [
        "the operator has not processed this version yet",
        "2 endpoints; sentiment running",
    ]


def test_a_time_that_is_up_says_what_was_last_seen(api: KubeApi, client: KubeRay) -> None:
    client.apply(service())
    api.set_status(PATH, STARTING)
    with pytest.raises(WaitError) as failure:
        wait(client, timeout_s=60.0)
    assert str(failure.value).splitlines() == [
        "RayService sentiment/sentiment was not ready in 60 s: sentiment deploying",
        "  Ready=False (ZeroServeEndpoints): no endpoint yet",
    ]


def test_a_failed_application_ends_the_waiting_with_its_message(api: KubeApi, client: KubeRay) -> None:
    client.apply(service())
    failed = {"sentiment": {"status": "DEPLOY_FAILED", "message": "the bundle's digest does not match"}}
    api.script = [lambda: api.set_status(PATH, {"pendingServiceStatus": {"applicationStatuses": failed}})]
    with pytest.raises(WaitError, match="the bundle's digest does not match"):
        wait(client)


def test_what_may_not_be_read_is_told_and_does_not_end_the_waiting(api: KubeApi, client: KubeRay) -> None:
    client.apply(service())
    api.denied = {"events", "serviceaccounts"}
    api.script = [lambda: api.set_status(PATH, STARTING), lambda: api.set_status(PATH, READY)]
    told: list[str] = []
    client.wait(RAY_SERVICE, NAMESPACE, NAME, timeout_s=60, on_progress=told.append)
    assert [line for line in told if "not allowed to read" in line] == [
        "not allowed to read events, serviceaccounts: causes may be missing; "
        "see the role in cluster/aws/ci-rbac.yaml"
    ]


def test_no_pod_without_its_account_ends_the_waiting(api: KubeApi, client: KubeRay) -> None:
    client.apply(service())
    api.remove(SERVICE_ACCOUNT.path(NAMESPACE, "sentiment"))
    told: list[str] = []
    with pytest.raises(WaitError, match="ServiceAccount sentiment does not exist"):
        client.wait(RAY_SERVICE, NAMESPACE, NAME, timeout_s=600, on_progress=told.append)
    assert "ServiceAccount sentiment does not exist" in told[-1]


def test_a_deleted_object_ends_the_waiting(api: KubeApi, client: KubeRay) -> None:
    client.apply(service())
    api.script = [lambda: api.remove(PATH)]
    with pytest.raises(WaitError, match="was deleted"):
        wait(client)


def test_what_was_never_there_is_not_waited_for(client: KubeRay) -> None:
    with pytest.raises(ObjectNotFoundError, match="sentiment"):
        wait(client)


def test_rights_that_are_lost_end_the_waiting(api: KubeApi, client: KubeRay) -> None:
    client.apply(service())
    api.script = [lambda: api.denied.add("rayservices"), DROP]
    with pytest.raises(ForbiddenError):
        wait(client)


def test_a_watch_that_goes_silent_is_begun_anew(api: KubeApi, clock: Clock) -> None:
    client = client_of(api.url, patient(clock, watch_s=0.3))
    client.apply(service())

    def silent() -> None:
        api.released.wait(1.0)

    api.script = [silent, DROP, lambda: api.set_status(PATH, READY)]
    assert wait(client)[-1] == "2 endpoints; sentiment running"


@pytest.mark.parametrize(
    ("status", "ends"),
    [
        ({"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}, None),
        ({"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "message": "loss is nan"}, "loss is nan"),
        ({"jobDeploymentStatus": "Complete", "jobStatus": "STOPPED"}, "stopped"),
    ],
)
def test_a_job_is_waited_for(api: KubeApi, client: KubeRay, status: dict[str, Any], ends: str | None) -> None:
    *_, job = training_documents(read_environment("prod"))
    client.apply(job)
    path = RAY_JOB.path(NAMESPACE, "sentiment-train")
    api.script = [
        lambda: api.set_status(path, {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}),
        lambda: api.set_status(path, status),
    ]
    told: list[str] = []
    try:
        client.wait(RAY_JOB, NAMESPACE, "sentiment-train", timeout_s=60, on_progress=told.append)
        assert ends is None
    except WaitError as error:
        assert ends is not None and ends in str(error)
    assert "Running, job running" in told


def test_a_cluster_is_ready_when_it_is_provisioned(api: KubeApi, client: KubeRay) -> None:
    path = RAY_CLUSTER.path(NAMESPACE, "one")
    api.put(path, {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": "one"}, "spec": {}})
    provisioned = {
        "type": "RayClusterProvisioned",
        "status": "True",
        "reason": "AllPodRunningAndReadyFirstTime",
    }
    counts = {"readyWorkerReplicas": 2, "desiredWorkerReplicas": 2}
    api.script = [
        lambda: api.set_status(path, {**counts, "readyWorkerReplicas": 1}),
        lambda: api.set_status(path, {**counts, "state": "ready", "conditions": [provisioned]}),
    ]
    last = client.wait(RAY_CLUSTER, NAMESPACE, "one", timeout_s=60, on_progress=lambda line: None)
    assert last.summary == "2 of 2 workers ready"
    failure = {
        "type": "ReplicaFailure",
        "status": "True",
        "reason": "FailedCreateWorkerPod",
        "message": "quota",
    }
    api.script = [lambda: api.set_status(path, {"conditions": [failure]})]
    api.objects[path]["status"] = {}
    with pytest.raises(WaitError, match="quota"):
        client.wait(RAY_CLUSTER, NAMESPACE, "one", timeout_s=60, on_progress=lambda line: None)


def test_every_error_is_of_one_family() -> None:
    family = (
        ClusterUnreachableError,
        UnknownKindError,
        ObjectNotFoundError,
        ForbiddenError,
        ConflictError,
        ObjectRejectedError,
        ApiServerError,
        WaitError,
    )
    assert all(issubclass(error, KubeError) for error in family)


@pytest.fixture
def kubeconfig(api: KubeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config"
    write_kubeconfig(path, api.url)
    monkeypatch.setattr(config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    return path


@pytest.mark.usefixtures("kubeconfig")
def test_the_verbs_from_applying_to_deleting(api: KubeApi, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "--env", "prod"]) == 1
    assert "RayService sentiment (new)" in capsys.readouterr().out and set(api.objects) == ACCOUNTS
    assert main(["apply", "--env", "prod", "--no-preflight"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "RayService sentiment applied"
    assert main(["diff", "--env", "prod"]) == 0
    assert main(["diff", "--env", "prod", "--set", "serve.max_pods=8"]) == 1
    assert "+       max_replicas: 8" in capsys.readouterr().out
    assert main(["status", "--env", "prod"]) == 1
    api.script = [lambda: api.set_status(PATH, READY)]
    assert main(["wait", "--env", "prod", "--timeout", "60"]) == 0
    assert main(["status", "--env", "prod"]) == 0
    assert "Ready=True" in capsys.readouterr().out
    pod = f"/api/v1/namespaces/{NAMESPACE}/pods/sentiment-abcde-head"
    labels = {"ray.io/cluster": "sentiment-abcde"}
    api.put(
        pod,
        {
            "metadata": {"name": "sentiment-abcde-head", "labels": labels},
            "spec": {"containers": [{"name": "ray-head"}]},
        },
    )
    api.logs[f"{pod}#ray-head"] = "Serve is up\n"
    assert main(["logs", "--env", "prod"]) == 0
    assert "==> sentiment-abcde-head ray-head <==\nServe is up" in capsys.readouterr().out
    assert main(["delete", "--env", "prod"]) == 0
    assert PATH not in api.objects and len(api.objects) > 1
    assert main(["delete", "--env", "prod", "--all"]) == 0
    assert set(api.objects) == {pod}


@pytest.mark.usefixtures("kubeconfig")
def test_an_apply_that_would_remove_the_api_keys_is_refused(
    api: KubeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    apply = ["apply", "--env", "prod", "--no-preflight"]
    assert main([*apply, "--set", "api_keys_secret=api-keys"]) == 0
    assert main([*apply, "--ray-only"]) == 1
    assert "requires API keys" in capsys.readouterr().err
    assert "SENTIMENT_API_KEYS_FILE" in str(api.objects[PATH]["spec"])
    assert main([*apply, "--ray-only", "--force"]) == 0
    assert "SENTIMENT_API_KEYS_FILE" not in str(api.objects[PATH]["spec"])


@pytest.mark.usefixtures("kubeconfig")
def test_delete_all_deletes_the_ingress_that_other_settings_made(api: KubeApi) -> None:
    """Its load balancer would keep the VPC."""
    ingress = ["--set", "ingress.host=sentiment.example.com", "--set", f"ingress.certificate={CERTIFICATE}"]
    assert main(["apply", "--env", "prod", "--no-preflight", *ingress]) == 0
    assert any("/ingresses/" in path for path in api.objects)
    assert main(["delete", "--env", "prod", "--all"]) == 0
    assert not any("/ingresses/" in path for path in api.objects)


def test_the_pipelines_upgrade_changes_the_image_alone(
    api: KubeApi, client: KubeRay, kubeconfig: Path
) -> None:
    before = client.apply(service("serve.model=s3://models/senti/8"))
    api.apply(
        PATH,
        {"metadata": {}, "spec": {SERVE_CONFIG: before["spec"][SERVE_CONFIG]}},
        ROLLOUT_MANAGER,
        force=True,
        dry_run=False,
    )
    api.before = lambda method, path: api.set_status(PATH, READY) if method == "GET" else None
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "IMAGE": "registry/senti", "COMMIT": "abc"}
    build = run("upgrade", environment)
    assert build.code == 0, build.said
    after = api.objects[PATH]
    images = {
        container["image"]
        for group in (
            after["spec"]["rayClusterConfig"]["headGroupSpec"],
            *after["spec"]["rayClusterConfig"]["workerGroupSpecs"],
        )
        for container in group["template"]["spec"]["containers"]
    }
    assert images == {"registry/senti:abc-cuda"} and set(api.objects) == {PATH} | ACCOUNTS
    assert after["spec"][SERVE_CONFIG] == before["spec"][SERVE_CONFIG]


@pytest.mark.usefixtures("kubeconfig")
def test_a_verb_that_fails_says_why_on_one_line(api: KubeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.absent = {"karpenter.k8s.aws"}
    assert main(["apply", "--env", "prod"]) == 1
    told = capsys.readouterr()
    assert "missing: the cluster does not serve karpenter.k8s.aws/v1" in told.err and not told.out
    assert main(["apply", "--env", "prod", "--no-preflight"]) == 1
    told = capsys.readouterr()
    assert told.err.startswith("error: the cluster has no EC2NodeClass") and not told.out
    assert main(["status", "--env", "prod", "--context", "nowhere"]) == 1
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.usefixtures("kubeconfig")
def test_check_takes_the_crds_of_the_live_cluster(api: KubeApi, capsys: pytest.CaptureFixture[str]) -> None:
    schema = {
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": {"type": "object", "properties": {"suspend": {"type": "boolean"}}},
        },
    }
    crd = {
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "rayservices.ray.io"},
        "spec": {
            "group": "ray.io",
            "names": {"kind": "RayService"},
            "versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}],
        },
    }
    api.put("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/rayservices.ray.io", crd)
    assert main(["check", "--env", "dev"]) == 1
    assert "RayService/sentiment: spec: unknown key 'serveConfigV2'" in capsys.readouterr().err
