"""Tests of the properties that the rendered manifests have in every environment."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve._private.deploy_utils import get_app_code_version
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import ServeDeploySchema

from cluster.errors import EnvironmentSettingsError
from cluster.kuberay.manifests import termination as drains
from cluster.kuberay.manifests.pods import HAPROXY
from cluster.kuberay.manifests.render import service_documents, to_yaml, training_documents
from cluster.kuberay.manifests.serve_config import serve_config
from cluster.kuberay.settings import environments, read_environment
from cluster.kuberay.validation.check import Checker
from serve_app.dev_server.launcher import CONFIG
from serve_app.ray_environment import ONE_HOP
from serve_app.settings import Settings

ROOT = Path(__file__).parents[5]


def service(name: str) -> dict[str, Any]:
    return service_documents(read_environment(name))[-1]


def job(name: str) -> dict[str, Any]:
    *_, document = training_documents(read_environment(name))
    return document


def groups(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def variables(group: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one.get("value", "") for one in group["template"]["spec"]["containers"][0]["env"]}


def one(name: str, kind: str) -> dict[str, Any]:
    return next(
        document for document in service_documents(read_environment(name)) if document["kind"] == kind
    )


@pytest.mark.parametrize("name", environments())
def test_head_and_workers_have_the_same_environment_of_one_hop(name: str) -> None:
    cluster = service(name)["spec"]["rayClusterConfig"]
    for group in groups(cluster):
        assert ONE_HOP.items() <= variables(group).items()
        assert variables(group)["RAY_SERVE_DEFAULT_HTTP_HOST"] == "0.0.0.0"
        assert variables(group)["RAY_SERVE_HAPROXY_BINARY_PATH"] == HAPROXY


@pytest.mark.parametrize("name", environments())
def test_a_worker_is_ready_by_a_replica_of_its_own(name: str) -> None:
    """HAProxy reads the address from this variable (tests/integration/test_haproxy.py)."""
    for group in service(name)["spec"]["rayClusterConfig"]["workerGroupSpecs"]:
        container = group["template"]["spec"]["containers"][0]
        own_address = {"fieldRef": {"fieldPath": "status.podIP"}}
        assert {"name": "HAPROXY_OWN_ADDRESS", "valueFrom": own_address} in container["env"]
        assert container["readinessProbe"]["httpGet"] == {"port": 8000, "path": "/-/healthz"}


@pytest.mark.parametrize("name", environments())
def test_api_keys_are_mounted_from_a_secret_and_never_written_down(name: str) -> None:
    environment = read_environment(name, ["api_keys_secret=clients"])
    for group in groups(service_documents(environment)[-1]["spec"]["rayClusterConfig"]):
        spec = group["template"]["spec"]
        [volume] = [one for one in spec["volumes"] if "secret" in one]
        [mount] = [one for one in spec["containers"][0]["volumeMounts"] if one["name"] == volume["name"]]
        assert volume["secret"]["secretName"] == "clients"
        assert "subPath" not in mount and mount["readOnly"]
        assert variables(group)["SENTIMENT_API_KEYS_FILE"] == f"{mount['mountPath']}/keys"
    for group in groups(service(name)["spec"]["rayClusterConfig"]):
        assert "SENTIMENT_API_KEYS_FILE" not in variables(group)
    with pytest.raises(EnvironmentSettingsError, match="api_keys_secret"):
        read_environment(name, ["environment.SENTIMENT_API_KEYS=s3cret"])


@pytest.mark.parametrize("name", environments())
def test_every_variable_of_ours_is_one_that_the_settings_read(name: str) -> None:
    known = {f"SENTIMENT_{field.upper()}" for field in Settings.model_fields}
    for group in groups(service(name)["spec"]["rayClusterConfig"]):
        ours = {variable for variable in variables(group) if variable.startswith("SENTIMENT_")}
        assert ours and ours <= known


@pytest.mark.parametrize("name", environments())
def test_the_head_offers_no_cpu_so_that_it_serves_nothing(name: str) -> None:
    spec = service(name)["spec"]
    assert spec["rayClusterConfig"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert spec["excludeHeadPodFromServeSvc"] is True


@pytest.mark.parametrize("name", environments())
def test_ray_is_told_whether_it_asks_for_a_token(name: str) -> None:
    environment = read_environment(name)
    cluster = service(name)["spec"]["rayClusterConfig"]
    assert cluster["authOptions"] == {"mode": environment.auth}
    said = {variables(group).get("RAY_AUTH_MODE") for group in groups(cluster)}
    assert said == ({"disabled"} if environment.auth == "disabled" else {None})


@pytest.mark.parametrize("name", environments())
def test_workers_are_given_longer_than_every_drain_together(name: str) -> None:
    for group in service(name)["spec"]["rayClusterConfig"]["workerGroupSpecs"]:
        pod = group["template"]["spec"]
        stop = pod["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert pod["terminationGracePeriodSeconds"] > stop + 2 + 35 + 30 + 30 + 120
        told = variables(group)
        assert told["RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S"] == "30"
        assert told["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] == "30"
        assert told["RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S"] == "120"


@pytest.mark.parametrize("name", environments())
def test_a_head_that_is_gone_is_not_waited_for(name: str) -> None:
    for cluster in (service(name)["spec"]["rayClusterConfig"], job(name)["spec"]["rayClusterSpec"]):
        assert cluster["headGroupSpec"]["template"]["spec"]["terminationGracePeriodSeconds"] <= 5


def test_the_drains_are_no_shorter_than_rays_own_and_as_the_configuration_has_them() -> None:
    from ray._private import ray_constants
    from ray.serve._private import constants

    assert constants.RAY_SERVE_STOP_FAILED_ROLLING_UPDATES, (
        "a broken version stops by itself: docs/rollout.md"
    )
    assert drains.REPLICA_WAIT_S >= constants.DEFAULT_GRACEFUL_SHUTDOWN_WAIT_LOOP_S
    assert drains.REPLICA_STOP_S >= constants.DEFAULT_GRACEFUL_SHUTDOWN_TIMEOUT_S
    assert drains.REPLICA_DRAIN_S >= constants.RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S
    buffer_s = constants.RAY_SERVE_DIRECT_INGRESS_SHUTDOWN_BUFFER_S
    assert drains.REPLICA_DRAIN_S + buffer_s <= drains.REPLICA_STOP_S, "else Ray raises it"
    assert drains.PROXY_DRAIN_S >= constants.PROXY_MIN_DRAINING_PERIOD_S
    assert drains.NODE_DRAIN_S >= ray_constants.RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S
    local = yaml.safe_load(CONFIG.read_text())["applications"][0]["deployments"][0]
    assert local["max_surge_percent"] > 0, "a new replica comes before an old one goes"
    assert local["graceful_shutdown_wait_loop_s"] == drains.REPLICA_WAIT_S
    assert local["graceful_shutdown_timeout_s"] == drains.REPLICA_STOP_S
    assert drains.HAPROXY_STOP_S >= constants.RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S


@pytest.mark.parametrize("name", environments())
def test_serve_config_is_the_local_one_and_what_the_cluster_adds(name: str) -> None:
    config = yaml.safe_load(service(name)["spec"]["serveConfigV2"])
    local = yaml.safe_load(CONFIG.read_text())
    (deployment,) = config["applications"][0].pop("deployments")
    (own,) = local["applications"][0].pop("deployments")
    assert config == local
    assert own.items() <= deployment.items()
    environment = read_environment(name)
    assert deployment["user_config"] == {"champion": {"model": environment.serve.model}}
    scaling = deployment["autoscaling_config"]
    assert (scaling["min_replicas"], scaling["max_replicas"]) == (
        environment.serve.min_pods,
        environment.serve.max_pods,
    )
    policy = AutoscalingConfig.model_validate(scaling).policy
    assert policy.get_policy()(**policy.policy_kwargs)._aims == environment.serve.scaling
    assert scaling["upscale_delay_s"] == scaling["downscale_delay_s"] == 0, "the windows are the policy's"
    assert environment.serve.scaling.down_window_s > scaling["look_back_period_s"]


def test_bounds_and_model_change_in_place_and_an_aim_replaces_the_replicas() -> None:
    def code(*changes: str) -> str:
        config = serve_config(read_environment("prod", changes))
        (application,) = ServeDeploySchema.model_validate(config).applications
        version: str = get_app_code_version(application)
        return version

    assert code() == code("serve.max_pods=8", "serve.model=s3://models/senti/7")
    assert code() != code("serve.scaling.requests_per_minute=900"), "docs/autoscaling.md says so"


@pytest.mark.parametrize("name", environments())
def test_containers_are_locked_down(name: str) -> None:
    clusters = [service(name)["spec"]["rayClusterConfig"], job(name)["spec"]["rayClusterSpec"]]
    for group in [group for cluster in clusters for group in groups(cluster)]:
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"]["runAsUser"] == 1000
        (container,) = pod["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert {"/tmp", variables(group)["SENTIMENT_CACHE_DIR"]} <= mounted


def test_four_pods_a_g5_12xlarge_and_one_a_g5_4xlarge() -> None:
    large, small = "g5.12xlarge", "g5.4xlarge"
    for kind, kinds, cpus, memory in (
        ([large, small], [large, small], "11", "41Gi"),
        (f"'{large}'", [large], "11", "41Gi"),
        (f"'{small}'", [small], "14", "54Gi"),
    ):
        environment = read_environment(
            "prod", [f"workers=[{{name='gpu', instance_type={kind}, max_pods=16}}]"]
        )
        [group] = service_documents(environment)[-1]["spec"]["rayClusterConfig"]["workerGroupSpecs"]
        pod = group["template"]["spec"]
        required = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert required["nodeSelectorTerms"] == [
            {
                "matchExpressions": [
                    {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": kinds}
                ]
            }
        ]
        asked = pod["containers"][0]["resources"]
        assert asked["requests"] == {"cpu": cpus, "memory": memory, "nvidia.com/gpu": "1"}
        assert asked["limits"] == {"memory": memory, "nvidia.com/gpu": "1"}
        assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


def test_karpenter_starts_only_what_the_pods_ask_for() -> None:
    pool, environment = one("prod", "NodePool"), read_environment("prod")
    wanted = {entry["key"]: entry["values"] for entry in pool["spec"]["template"]["spec"]["requirements"]}
    assert wanted["node.kubernetes.io/instance-type"] == list(environment.instance_types)
    assert sorted(wanted["karpenter.sh/capacity-type"]) == ["on-demand", "spot"]
    assert pool["spec"]["template"]["spec"]["taints"] == [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]
    # 16 pods, and as many in the second cluster of an upgrade; the last node of two groups may have four GPUs
    # and one pod; training uses one more GPU
    assert pool["spec"]["limits"] == {"nvidia.com/gpu": str(2 * 16 + 2 * 3 + 1)}
    assert pool["spec"]["template"]["spec"]["expireAfter"] == "Never", "drift replaces nodes one at a time"
    assert pool["spec"]["disruption"]["budgets"] == [
        {"nodes": "100%", "reasons": ["Empty"]},
        {"nodes": "1", "reasons": ["Drifted", "Underutilized"]},
    ]
    reference = pool["spec"]["template"]["spec"]["nodeClassRef"]["name"]
    assert reference == one("prod", "EC2NodeClass")["metadata"]["name"]


@pytest.mark.parametrize("name", environments())
def test_workers_are_spread_over_zones_and_nodes_without_unused_gpus(name: str) -> None:
    cluster, environment = service(name)["spec"]["rayClusterConfig"], read_environment(name)
    per_node = {"large": 4}  # with less, Karpenter would start a g5.12xlarge for each pod
    for group in cluster["workerGroupSpecs"]:
        pod = group["template"]
        constraints = pod["spec"]["topologySpreadConstraints"]
        assert [one["topologyKey"] for one in constraints] == [
            "topology.kubernetes.io/zone",
            "kubernetes.io/hostname",
        ]
        for one in constraints:
            assert one["maxSkew"] == per_node.get(group["groupName"], 1)
            assert one["whenUnsatisfiable"] == "ScheduleAnyway", "a pod starts anywhere rather than nowhere"
            selected = one["labelSelector"]["matchLabels"].items()
            assert selected <= pod["metadata"]["labels"].items()
    training = job(name)["spec"]["rayClusterSpec"]
    assert environment.training is not None
    for group in [cluster["headGroupSpec"], *groups(training)]:
        assert "topologySpreadConstraints" not in group["template"]["spec"]


@pytest.mark.parametrize(
    ("ami", "disks"),
    [
        ("bottlerocket@v1.50.0", {"/dev/xvda": "4Gi", "/dev/xvdb": "60Gi"}),
        ("al2023@v20261101", {"/dev/xvda": "60Gi"}),
    ],
)
def test_every_disk_of_a_gpu_node_is_encrypted(ami: str, disks: dict[str, str]) -> None:
    """The root disk too: a disk that is not listed is created as in the AMI, without encryption."""
    environment = read_environment("prod", [f"nodes.ami={ami}", "nodes.disk_gib=60"])
    [spec] = [one["spec"] for one in service_documents(environment) if one["kind"] == "EC2NodeClass"]
    mapped = {one["deviceName"]: one["ebs"] for one in spec["blockDeviceMappings"]}
    assert {name: ebs["volumeSize"] for name, ebs in mapped.items()} == disks
    assert all(ebs["encrypted"] and ebs["deleteOnTermination"] for ebs in mapped.values())


@pytest.mark.parametrize(("value", "policy"), [("true", "RAID0"), ("false", None)])
def test_images_are_on_the_nvme_disks_of_the_instance(value: str, policy: str | None) -> None:
    environment = read_environment("prod", [f"nodes.instance_store={value}"])
    [spec] = [one["spec"] for one in service_documents(environment) if one["kind"] == "EC2NodeClass"]
    assert spec.get("instanceStorePolicy") == policy


@pytest.mark.parametrize("name", environments())
def test_a_service_that_never_starts_is_given_up(name: str) -> None:
    """KubeRay 1.7 has no code that reads the thresholds of the spec; it reads the annotation."""
    environment = read_environment(name, ["initializing_timeout_s=1200"])
    document = service_documents(environment)[-1]
    assert document["metadata"]["annotations"] == {"ray.io/initializing-timeout": "1200"}
    assert not [key for key in document["spec"] if key.endswith("UnhealthySecondThreshold")]


@pytest.mark.parametrize("name", environments())
def test_a_pod_monitor_names_ports_that_the_pods_have(name: str) -> None:
    changes = ["pod_monitor.labels.release=prometheus", "pod_monitor.interval_s=30"]
    environment = read_environment(name, changes)
    documents = service_documents(environment)
    [monitor] = [document for document in documents if document["kind"] == "PodMonitor"]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    pods = groups(documents[-1]["spec"]["rayClusterConfig"])
    selected = monitor["spec"]["selector"]["matchLabels"].items()
    assert all(selected <= pod["template"]["metadata"]["labels"].items() for pod in pods)
    named = {
        port["name"]
        for pod in pods
        for container in pod["template"]["spec"]["containers"]
        for port in container["ports"]
    }
    assert {one["port"] for one in monitor["spec"]["podMetricsEndpoints"]} <= named
    assert {one["interval"] for one in monitor["spec"]["podMetricsEndpoints"]} == {"30s"}
    assert Checker({}).check([monitor]) == []
    assert not [one for one in service_documents(read_environment(name)) if one["kind"] == "PodMonitor"]


def test_the_head_survives_in_redis_and_no_password_is_rendered() -> None:
    options = service("prod")["spec"]["rayClusterConfig"]["gcsFaultToleranceOptions"]
    assert options["redisAddress"] == f"{one('prod', 'StatefulSet')['metadata']['name']}:6379"
    assert set(options["redisPassword"]) == {"valueFrom"}
    kinds = [document["kind"] for document in service_documents(read_environment("prod"))]
    assert "Secret" not in kinds and "StatefulSet" in kinds
    elsewhere = service_documents(read_environment("prod", ["redis.address=cache.internal:6380"]))
    assert "StatefulSet" not in [document["kind"] for document in elsewhere]
    policy = next(document for document in elsewhere if document["kind"] == "NetworkPolicy")
    assert {"ports": [{"port": 6380, "protocol": "TCP"}]} in policy["spec"]["egress"]


@pytest.mark.parametrize("name", environments())
def test_guards_select_the_pods_that_are_rendered(name: str) -> None:
    cluster = service(name)["spec"]["rayClusterConfig"]
    labels = [group["template"]["metadata"]["labels"] for group in groups(cluster)]
    policy = one(name, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"].items()
    assert all(policy <= label.items() for label in labels)
    account = one(name, "ServiceAccount")["metadata"]["name"]
    assert {group["template"]["spec"]["serviceAccountName"] for group in groups(cluster)} == {account}


def test_clients_reach_the_workers_of_the_service_and_not_its_trainings() -> None:
    found = one("dev", "Service")
    selector = found["spec"]["selector"].items()
    head, *workers = groups(service("dev")["spec"]["rayClusterConfig"])
    trained = job("dev")["spec"]["rayClusterSpec"]
    labels = [group["template"]["metadata"]["labels"].items() for group in [head, *groups(trained)]]
    assert all(selector <= group["template"]["metadata"]["labels"].items() for group in workers)
    assert not any(selector <= one for one in labels)
    [port] = found["spec"]["ports"]
    [container] = workers[0]["template"]["spec"]["containers"]
    assert port["targetPort"] in [one["containerPort"] for one in container["ports"]]


def test_the_budget_counts_the_workers_of_the_service_and_spares_one() -> None:
    cluster, budget = service("prod")["spec"]["rayClusterConfig"], one("prod", "PodDisruptionBudget")["spec"]
    selected = budget["selector"]["matchLabels"].items()
    head, *workers = [group["template"]["metadata"]["labels"].items() for group in groups(cluster)]
    assert not selected <= head and all(selected <= worker for worker in workers)
    training = groups(job("prod")["spec"]["rayClusterSpec"])
    assert not any(selected <= group["template"]["metadata"]["labels"].items() for group in training)
    assert budget["minAvailable"] == read_environment("prod").serve.min_pods - 1
    # A RayCluster has no scale subresource, which Kubernetes needs for this form of budget.
    assert "maxUnavailable" not in budget


def test_a_single_pod_has_no_budget_which_would_block_every_drain() -> None:
    assert "PodDisruptionBudget" not in [
        document["kind"] for document in service_documents(read_environment("dev"))
    ]


def test_only_named_namespaces_reach_the_service() -> None:
    policy = one("prod", "NetworkPolicy")["spec"]
    sources = [source for rule in policy["ingress"] for source in rule["from"]]
    assert all(source for source in sources), "an empty source would be everybody"
    outsiders = {
        source["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]: [
            port["port"] for port in rule["ports"]
        ]
        for rule in policy["ingress"]
        for source in rule["from"]
        if "namespaceSelector" in source
    }
    assert outsiders == {
        "kuberay-system": [8265, 52365, 8000],
        "monitoring": [8080, 9101],
        "ingress": [8000],
    }
    ranges = {
        source["ipBlock"]["cidr"]: [port["port"] for port in rule["ports"]]
        for rule in policy["ingress"]
        for source in rule["from"]
        if "ipBlock" in source and {"port": 8000, "protocol": "TCP"} in rule["ports"]
    }
    assert ranges == {"10.40.0.0/16": [8000]}, "the load balancer and the probe"


@pytest.mark.parametrize("name", environments())
def test_training_runs_the_command_line_that_there_is(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    from train.__main__ import main

    words = job(name)["spec"]["entrypoint"].split()
    assert words[:3] == ["python", "-m", "train"]
    assert (ROOT / words[words.index("--config") + 1]).is_file()
    words[words.index("--config") + 1] = "/nowhere.toml"
    assert main(words[3:]) == 1  # all options were accepted: only the settings file is missing
    assert "/nowhere.toml" in capsys.readouterr().err


@pytest.mark.parametrize("name", environments())
def test_training_and_service_are_known_as_two_and_both_accounts_are_there(name: str) -> None:
    def accounts(cluster: dict[str, Any]) -> set[str]:
        return {group["template"]["spec"]["serviceAccountName"] for group in groups(cluster)}

    serving = accounts(service(name)["spec"]["rayClusterConfig"])
    training = accounts(job(name)["spec"]["rayClusterSpec"])
    assert len(serving) == len(training) == 1 and serving != training
    rendered = service_documents(read_environment(name))
    there = {one["metadata"]["name"] for one in rendered if one["kind"] == "ServiceAccount"}
    assert there == serving | training


@pytest.mark.parametrize("name", environments())
def test_the_yaml_reads_back_as_it_was(name: str) -> None:
    environment = read_environment(name)
    documents = service_documents(environment) + training_documents(environment)[-1:]
    text = to_yaml(documents)
    assert list(yaml.safe_load_all(text)) == documents
    assert "&id" not in text and "serveConfigV2: |" in text
