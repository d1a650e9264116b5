"""Tests of the manifest check: it accepts the rendered manifests and refuses mutated ones."""

import copy
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.errors import ManifestError
from cluster.kuberay.manifests.render import service_documents, to_yaml, training_documents
from cluster.kuberay.settings import environments, read_environment
from cluster.kuberay.validation.check import Checker, Fault, dotted, read_documents
from cluster.kuberay.validation.crd_schemas import KindSchema, read_crds
from tests.unit.cluster.kuberay.validation.mutations import mutate

MUTATIONS = 300
SEED = 5
Document = dict[str, Any]


INCREMENTAL = ("upgrade.type=NewClusterWithIncrementalUpgrade", "upgrade.gateway_class=istio")


def rendered(name: str) -> list[Document]:
    environment = read_environment(name)
    return [*service_documents(environment), *training_documents(environment)[-1:]]


def service(*changes: str) -> Document:
    return service_documents(read_environment("prod", changes))[-1]


def job() -> Document:
    return next(document for document in rendered("prod") if document["kind"] == "RayJob")


def put(document: Document, way: str, value: object) -> Document:
    """Return a copy with a value at a dotted path."""
    changed = copy.deepcopy(document)
    *above, last = way.split(".")
    place: Any = changed
    for part in above:
        place = place[int(part)] if isinstance(place, list) else place[part]
    if isinstance(place, list):
        place[int(last)] = value
    else:
        place[last] = value
    return changed


def places(faults: list[Fault]) -> list[str]:
    return [dotted(fault.place) for fault in faults]


@pytest.mark.parametrize("name", environments())
def test_what_is_rendered_passes(checker: Checker, name: str) -> None:
    documents = rendered(name)
    assert checker.check(read_documents(to_yaml(documents), name)) == []
    assert {"RayService", "RayJob", "NetworkPolicy", "ServiceAccount"} <= {
        document["kind"] for document in documents
    }


@pytest.mark.parametrize("type_", ["NewCluster", "NewClusterWithIncrementalUpgrade", "None"])
def test_every_way_to_upgrade_passes(checker: Checker, type_: str) -> None:
    changes = INCREMENTAL if type_ == "NewClusterWithIncrementalUpgrade" else [f"upgrade.type={type_}"]
    documents = service_documents(read_environment("prod", changes))
    # The Gateway's CRD belongs to the Gateway API and is not in KubeRay's folder.
    assert checker.check([one for one in documents if one["kind"] != "Gateway"]) == []


def test_mutated_manifests_are_all_refused(
    checker: Checker, schemas: dict[tuple[str, str], KindSchema]
) -> None:
    chance = random.Random(SEED)
    ray = [
        document
        for name in environments()
        for document in rendered(name)
        if "ray.io" in document["apiVersion"]
    ]
    passed, kinds = [], set()
    for _ in range(MUTATIONS):
        document = chance.choice(ray)
        source = schemas[document["apiVersion"], document["kind"]].source
        assert source is not None
        broken, fault = mutate(document, source, chance)
        kinds.add((fault.split(" at ")[0], "serveConfigV2" in fault))
        if not checker.check([broken]):
            passed.append(f"{document['kind']}: {fault}")
    assert passed == []
    assert kinds == {
        (kind, inside) for kind in ("unknown key", "wrong type", "missing field") for inside in (True, False)
    }


def test_an_unknown_key_is_named_with_the_nearest_known_one(checker: Checker) -> None:
    broken = put(service(), "spec.rayClusterConfig.headGroupSpec.rayStartParamz", {})
    (fault,) = checker.check([broken])
    assert dotted(fault.place) == "spec.rayClusterConfig.headGroupSpec"
    assert "'rayStartParamz'" in fault.message and "did you mean 'rayStartParams'" in fault.message


def test_a_key_that_ray_would_ignore_is_refused(checker: Checker) -> None:
    config = yaml.safe_load(service()["spec"]["serveConfigV2"])
    config["applications"][0]["rout_prefix"] = "/v2"
    (fault,) = checker.check([put(service(), "spec.serveConfigV2", yaml.safe_dump(config))])
    assert dotted(fault.place) == "spec.serveConfigV2.applications[0].rout_prefix"
    assert "route_prefix" in fault.message


@pytest.mark.parametrize("text", ["applications: [", "just text", "- a\n- b\n"])
def test_a_serve_config_that_is_no_mapping_is_refused(checker: Checker, text: str) -> None:
    assert places(checker.check([put(service(), "spec.serveConfigV2", text)])) == ["spec.serveConfigV2"]


@pytest.mark.parametrize(
    ("change", "where", "says"),
    [
        (
            {"policy_kwargs": {"requests_per_hour": 1}},
            ".policy.policy_kwargs.requests_per_hour",
            "not permitted",
        ),
        ({"policy_kwargs": {"tolerance": 2}}, ".policy.policy_kwargs.tolerance", "less than 1"),
        ({"policy_function": "cluster.autoscaling.policy:Nobody"}, "", "Nobody"),
        ({"policy_function": "cluster.nowhere:Policy"}, "", "nowhere"),
    ],
)
def test_a_policy_that_is_not_there_or_not_told_so_is_refused(
    checker: Checker, change: Document, where: str, says: str
) -> None:
    config = yaml.safe_load(service()["spec"]["serveConfigV2"])
    config["applications"][0]["deployments"][0]["autoscaling_config"]["policy"] |= change
    faults = checker.check([put(service(), "spec.serveConfigV2", yaml.safe_dump(config))])
    assert faults and all(says in fault.message for fault in faults)
    place = "spec.serveConfigV2.applications[0].deployments[0].autoscaling_config"
    assert f"{place}{where}" in places(faults)


def test_another_application_may_have_its_own_user_config(checker: Checker) -> None:
    config = yaml.safe_load(service()["spec"]["serveConfigV2"])
    config["applications"][0] |= {"import_path": "other.app:app", "args": {"anything": 1}}
    config["applications"][0]["deployments"][0] |= {"name": "other", "user_config": {"threshold": 0.5}}
    assert checker.check([put(service(), "spec.serveConfigV2", yaml.safe_dump(config))]) == []


CLUSTER = "spec.rayClusterConfig"


@pytest.mark.parametrize(
    ("way", "value", "where"),
    [
        ("metadata.name", "a" * 48, "metadata.name"),
        ("metadata.name", "1st", "metadata.name"),
        (
            "metadata.annotations",
            {"ray.io/initializing-timeout": "soon"},
            "metadata.annotations.ray.io/initializing-timeout",
        ),
        (
            "metadata.annotations",
            {"ray.io/initializing-timeout": "0"},
            "metadata.annotations.ray.io/initializing-timeout",
        ),
        ("spec.upgradeStrategy.type", "BlueGreen", "spec.upgradeStrategy.type"),
        ("spec.upgradeStrategy.clusterUpgradeOptions", None, "spec.upgradeStrategy.clusterUpgradeOptions"),
        (
            "spec.upgradeStrategy.clusterUpgradeOptions.stepSizePercent",
            26,
            "spec.upgradeStrategy.clusterUpgradeOptions.stepSizePercent",
        ),
        (
            "spec.upgradeStrategy.clusterUpgradeOptions.maxSurgePercent",
            101,
            "spec.upgradeStrategy.clusterUpgradeOptions.maxSurgePercent",
        ),
        (f"{CLUSTER}.enableInTreeAutoscaling", False, "spec.upgradeStrategy.type"),
        (f"{CLUSTER}.workerGroupSpecs.0.minReplicas", 99, f"{CLUSTER}.workerGroupSpecs[0].minReplicas"),
        (f"{CLUSTER}.rayVersion", "2.51.0", f"{CLUSTER}.rayVersion"),
        (f"{CLUSTER}.tlsOptions", {"enabled": True}, f"{CLUSTER}.tlsOptions"),
        (
            f"{CLUSTER}.gcsFaultToleranceOptions.backend",
            "rocksdb",
            f"{CLUSTER}.gcsFaultToleranceOptions.backend",
        ),
        (f"{CLUSTER}.headGroupSpec.resources", {"CPU": "1"}, f"{CLUSTER}.headGroupSpec.resources"),
        (
            f"{CLUSTER}.headGroupSpec.template.spec.restartPolicy",
            "Always",
            f"{CLUSTER}.headGroupSpec.template.spec.restartPolicy",
        ),
        (f"{CLUSTER}.authOptions.enableK8sTokenAuth", True, f"{CLUSTER}.authOptions.enableK8sTokenAuth"),
    ],
)
def test_the_operators_own_rules(checker: Checker, way: str, value: object, where: str) -> None:
    groups = "workers=[{name='gpu', instance_type='g5.4xlarge', max_pods=16}]"
    assert places(checker.check([put(service(*INCREMENTAL, groups), way, value)])) == [where]


def test_a_priority_needs_autoscaling(checker: Checker) -> None:
    broken = put(service(), f"{CLUSTER}.enableInTreeAutoscaling", False)
    where = [f"{CLUSTER}.workerGroupSpecs[{number}].priority" for number in (0, 1)]
    assert places(checker.check([broken])) == where


def test_redis_of_the_head_is_set_in_one_place(checker: Checker) -> None:
    broken = service()
    container = broken["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    container["env"].append({"name": "RAY_REDIS_ADDRESS", "value": "redis:6379"})
    (fault,) = checker.check([broken])
    assert "gcsFaultToleranceOptions" in fault.message


@pytest.mark.parametrize(
    ("way", "value", "where"),
    [
        ("spec.activeDeadlineSeconds", 0, "spec.activeDeadlineSeconds"),
        ("spec.backoffLimit", -1, "spec.backoffLimit"),
        ("spec.shutdownAfterJobFinishes", False, "spec.ttlSecondsAfterFinished"),
        ("spec.rayClusterSpec", None, "spec"),
        ("spec.runtimeEnvYAML", "- a", "spec.runtimeEnvYAML"),
        ("spec.deletionStrategy", {}, "spec.deletionStrategy"),
    ],
)
def test_the_operators_rules_for_jobs(checker: Checker, way: str, value: object, where: str) -> None:
    assert places(checker.check([put(job(), way, value)])) == [where]


@pytest.mark.parametrize(
    ("kind", "way", "value"),
    [
        ("PodDisruptionBudget", "spec.maxUnavailible", 1),
        ("PodDisruptionBudget", "spec.max_unavailable", 1),
        ("NetworkPolicy", "spec.ingress", {}),
        ("NetworkPolicy", "spec", None),
        ("StatefulSet", "spec.template.spec.containers.0.ports.0.containerPort", "6379"),
        ("StatefulSet", "spec.template.spec.containers.0.name", None),
        ("ServiceAccount", "metadata.name", None),
        ("NodePool", "spec.disruption.consolidationPolicy", "Always"),
        ("NodePool", "spec.template.spec.taints.0.efect", "NoSchedule"),
        ("NodePool", "spec.template.metadata", {"labels": {"app.kubernetes.io/name": "x"}}),
        ("EC2NodeClass", "spec.subnetSelectorTerms", []),
    ],
)
def test_the_other_kinds_are_closed_too(checker: Checker, kind: str, way: str, value: object) -> None:
    document = next(document for document in rendered("prod") if document["kind"] == kind)
    assert checker.check([document]) == []
    assert checker.check([put(document, way, value)]) != []


def test_two_containers_of_one_name_are_refused(checker: Checker) -> None:
    broken = service()
    containers = broken["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"]
    containers.append({"name": containers[0]["name"]})
    assert any("defined twice" in fault.message for fault in checker.check([broken]))


def test_the_server_drops_nulls_and_fills_in_defaults_first(checker: Checker) -> None:
    relaxed = service()
    group = relaxed["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]
    del group["minReplicas"], group["maxReplicas"]  # required fields that have defaults
    group["idleTimeoutSeconds"] = None
    assert checker.check([relaxed]) == []


def test_an_object_that_is_there_twice_is_refused(checker: Checker) -> None:
    (fault,) = checker.check([service(), service()])
    assert fault.message == "is defined twice"


@pytest.mark.parametrize("document", [{}, {"kind": "RayService"}, ["a"], "text", {**{"kind": "RayServices"}}])
def test_what_is_no_manifest_is_a_fault_and_no_crash(checker: Checker, document: Any) -> None:
    assert checker.check([document])


def test_a_key_that_is_there_twice_in_yaml_is_refused() -> None:
    with pytest.raises(ManifestError, match="'kind' is defined twice"):
        read_documents("kind: A\nkind: B\n", "a.yaml")


def test_a_folder_without_crds_says_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("kind: ConfigMap\n")
    with pytest.raises(ManifestError, match="ray-operator/config/crd/bases"):
        read_crds(tmp_path)


def test_every_crd_version_is_read(crds: list[Document], schemas: dict[tuple[str, str], KindSchema]) -> None:
    assert len(crds) == 3
    assert {
        ("ray.io/v1", "RayService"),
        ("ray.io/v1", "RayJob"),
        ("ray.io/v1", "RayCluster"),
    } <= schemas.keys()
