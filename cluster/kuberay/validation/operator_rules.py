"""Validation rules of KubeRay 1.7's operator, which apply after the API server has accepted an object.

Source: ray-operator/controllers/ray/utils/validation.go. If a rule depends on a feature gate, the gate's
    default in
1.7 is used.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml

Place = tuple[str | int, ...]
Problem = tuple[Place, str]

_CLUSTER_NAME_MAX = 53
_OWNER_NAME_MAX = 47
"""The RayCluster's name is the owner's name and six more characters."""
_DNS_LABEL = re.compile(r"^[a-z]([-a-z0-9]*[a-z0-9])?$")
_DURATION = re.compile(r"\d+|(\d+(\.\d+)?(h|m|s|ms))+")
_UPGRADES = ("NewCluster", "NewClusterWithIncrementalUpgrade", "None")
_RESOURCE_PARAMS = ("num-cpus", "num-gpus", "memory", "resources")
_TOKEN_SINCE = (2, 52, 0)


def operator_problems(document: dict[str, Any]) -> list[Problem]:
    """Return what the operator would reject in a document that its CRD allows, each with its location.

    Args:
        document: RayService, RayJob or RayCluster that is valid by its schema; other kinds have no rules.
    """
    spec = document.get("spec", {})
    if document["kind"] == "RayService":
        place: Place = ("spec", "rayClusterConfig")
        return [
            *_name(document, _OWNER_NAME_MAX),
            *_initializing_timeout(document["metadata"].get("annotations") or {}),
            *_cluster(spec["rayClusterConfig"], document, place),
            *_service(spec),
        ]
    if document["kind"] == "RayJob":
        cluster = spec.get("rayClusterSpec")
        inner = _cluster(cluster, document, ("spec", "rayClusterSpec")) if cluster else ()
        return [*_name(document, _OWNER_NAME_MAX), *_job(spec), *inner]
    if document["kind"] == "RayCluster":
        return [*_name(document, _CLUSTER_NAME_MAX), *_cluster(spec, document, ("spec",))]
    return []


def _name(document: dict[str, Any], longest: int) -> Iterator[Problem]:
    name = document["metadata"]["name"]
    if len(name) > longest:
        yield ("metadata", "name"), f"{name!r} has {len(name)} characters; expected at most {longest}"
    if not _DNS_LABEL.match(name):
        yield ("metadata", "name"), f"{name!r} must be lower-case letters, digits and '-', a letter first"


def _initializing_timeout(annotations: dict[str, str]) -> Iterator[Problem]:
    """Yield a problem if the annotation is neither seconds nor a Go duration, or not positive."""
    text = annotations.get("ray.io/initializing-timeout") or ""
    if text and (not _DURATION.fullmatch(text) or not re.search("[1-9]", text)):
        yield (
            ("metadata", "annotations", "ray.io/initializing-timeout"),
            f"{text!r} must be a positive number of seconds, or a duration such as 30m",
        )


def _service(spec: dict[str, Any]) -> Iterator[Problem]:
    cluster = spec["rayClusterConfig"]
    upgrade = spec.get("upgradeStrategy") or {}
    place: Place = ("spec", "upgradeStrategy")
    kind = upgrade.get("type")
    if kind is not None and kind not in _UPGRADES:
        yield (*place, "type"), f"{kind!r} is not known; expected one of {', '.join(_UPGRADES)}"
    if spec.get("rayClusterDeletionDelaySeconds", 0) < 0:
        yield ("spec", "rayClusterDeletionDelaySeconds"), "must not be negative"
    if cluster["headGroupSpec"].get("headService", {}).get("metadata", {}).get("name"):
        yield (
            ("spec", "rayClusterConfig", "headGroupSpec", "headService", "metadata", "name"),
            "must not be set: a RayService names it",
        )
    if (cluster.get("authOptions") or {}).get("enableK8sTokenAuth"):
        yield (
            ("spec", "rayClusterConfig", "authOptions", "enableK8sTokenAuth"),
            "is not supported for a RayService",
        )
    if kind == "NewClusterWithIncrementalUpgrade":
        yield from _incremental(upgrade.get("clusterUpgradeOptions"), cluster, place)


def _incremental(options: dict[str, Any] | None, cluster: dict[str, Any], place: Place) -> Iterator[Problem]:
    if not cluster.get("enableInTreeAutoscaling"):
        yield (*place, "type"), "an incremental upgrade needs enableInTreeAutoscaling: true"
    place = (*place, "clusterUpgradeOptions")
    if not options:
        yield place, "an incremental upgrade needs them"
        return
    surge, step = options.get("maxSurgePercent", 100), options.get("stepSizePercent", 0)
    if not 0 <= surge <= 100:
        yield (*place, "maxSurgePercent"), f"{surge} is not within 0..100"
    if not 0 <= step <= 100:
        yield (*place, "stepSizePercent"), f"{step} is not within 0..100"
    if step > surge:
        yield (*place, "stepSizePercent"), f"{step} is more than maxSurgePercent {surge}"
    if options.get("intervalSeconds", 0) <= 0:
        yield (*place, "intervalSeconds"), "must be more than 0"
    if not options.get("gatewayClassName"):
        yield (*place, "gatewayClassName"), "an incremental upgrade needs it"


def _job(spec: dict[str, Any]) -> Iterator[Problem]:
    selector, mode = spec.get("clusterSelector"), spec.get("submissionMode", "K8sJobMode")
    ends = spec.get("shutdownAfterJobFinishes", False)
    if not selector and not spec.get("rayClusterSpec"):
        yield ("spec",), "rayClusterSpec or clusterSelector must be set"
    if selector is not None and not selector.get("ray.io/cluster"):
        yield ("spec", "clusterSelector"), "must name the cluster: ray.io/cluster"
    if selector and mode == "SidecarMode":
        yield ("spec", "submissionMode"), "SidecarMode requires a cluster of the job's own"
    if selector and spec.get("suspend"):
        yield ("spec", "suspend"), "a job on a selected cluster cannot be suspended"
    if spec.get("suspend") and not ends:
        yield ("spec", "suspend"), "needs shutdownAfterJobFinishes: true"
    if spec.get("ttlSecondsAfterFinished", 0) < 0:
        yield ("spec", "ttlSecondsAfterFinished"), "must not be negative"
    if spec.get("ttlSecondsAfterFinished", 0) > 0 and not ends:
        yield ("spec", "ttlSecondsAfterFinished"), "needs shutdownAfterJobFinishes: true"
    for key in ("activeDeadlineSeconds", "preRunningDeadlineSeconds"):
        if spec.get(key, 1) <= 0:
            yield ("spec", key), "must be more than 0"
    retries = spec.get("backoffLimit", 0)
    if retries < 0:
        yield ("spec", "backoffLimit"), "must not be negative"
    if retries > 0 and (selector or mode == "InteractiveMode"):
        yield ("spec", "backoffLimit"), "is allowed neither with clusterSelector nor with InteractiveMode"
    if mode == "SidecarMode":
        for key in ("submitterPodTemplate", "submitterConfig"):
            if spec.get(key) is not None:
                yield ("spec", key), "is not allowed with SidecarMode"
    yield from _runtime_env(spec.get("runtimeEnvYAML"))
    yield from _deletion(spec.get("deletionStrategy"), ends)


def _runtime_env(text: str | None) -> Iterator[Problem]:
    try:
        value = yaml.safe_load(text) if text else {}
    except yaml.YAMLError as error:
        yield ("spec", "runtimeEnvYAML"), f"is not YAML: {error}"
        return
    if not isinstance(value, dict):
        yield ("spec", "runtimeEnvYAML"), "must be a mapping"


def _deletion(strategy: dict[str, Any] | None, ends: bool) -> Iterator[Problem]:
    if strategy is None:
        return
    place: Place = ("spec", "deletionStrategy")
    rules = strategy.get("deletionRules")
    older = [key for key in ("onSuccess", "onFailure") if strategy.get(key) is not None]
    if rules and ends:
        yield (*place, "deletionRules"), "is not allowed with shutdownAfterJobFinishes"
    if rules and older:
        yield place, "deletionRules is not allowed with onSuccess and onFailure"
    if not rules and len(older) < 2:
        yield place, "needs deletionRules, or both onSuccess and onFailure"


def _cluster(cluster: dict[str, Any], document: dict[str, Any], place: Place) -> Iterator[Problem]:
    head = cluster["headGroupSpec"]
    scales = bool(cluster.get("enableInTreeAutoscaling"))
    v2 = scales and (cluster.get("autoscalerOptions") or {}).get("version") == "v2"
    yield from _group(head, (*place, "headGroupSpec"), v2)
    for number, group in enumerate(cluster.get("workerGroupSpecs") or []):
        here = (*place, "workerGroupSpecs", number)
        yield from _group(group, here, v2)
        yield from _workers(group, here, scales=scales, v2=v2)
    containers = head["template"]["spec"].get("containers") or [{}]
    variables = {one["name"]: one.get("value", "") for one in containers[0].get("env") or []}
    yield from _autoscaler(cluster, variables, place, scales=scales)
    yield from _fault_tolerance(cluster, variables, document, place)
    yield from _auth(cluster, place)
    for key, gate in (("networkPolicy", "RayClusterNetworkPolicy"), ("tlsOptions", "RayClusterMTLS")):
        if cluster.get(key) is not None:
            yield (*place, key), f"needs the operator's feature gate {gate}, off by default in 1.7"


def _group(group: dict[str, Any], place: Place, v2: bool) -> Iterator[Problem]:
    params = group.get("rayStartParams") or {}
    pod = group["template"]["spec"]
    if not pod.get("containers"):
        yield (*place, "template", "spec", "containers"), "needs at least one container, Ray's first"
    if group.get("resources") and any(params.get(key) for key in _RESOURCE_PARAMS):
        yield (*place, "resources"), "set them here or in rayStartParams, not in both"
    if "labels" in params:
        yield (*place, "rayStartParams", "labels"), "must be set in the group's own `labels`"
    if v2 and pod.get("restartPolicy", "Never") != "Never":
        yield (*place, "template", "spec", "restartPolicy"), "must be Never or omitted with autoscaler v2"


def _workers(group: dict[str, Any], place: Place, *, scales: bool, v2: bool) -> Iterator[Problem]:
    least, most = group.get("minReplicas"), group.get("maxReplicas")
    if not scales and (least is None or most is None):
        yield place, "without autoscaling both minReplicas and maxReplicas must be set"
    for key, value in (("minReplicas", least), ("maxReplicas", most)):
        if value is not None and value < 0:
            yield (*place, key), "must not be negative"
    if least is not None and most is not None and least > most:
        yield (*place, "minReplicas"), f"{least} is more than maxReplicas {most}"
    if group.get("suspend"):
        yield (*place, "suspend"), "is disabled by default in 1.7, and never allowed with autoscaling"
    idle = group.get("idleTimeoutSeconds")
    if idle is not None and idle < 0:
        yield (*place, "idleTimeoutSeconds"), "must not be negative"
    for key in ("idleTimeoutSeconds", "priority"):
        if group.get(key) and not v2:
            yield (*place, key), "needs autoscalerOptions.version: v2"


def _autoscaler(
    cluster: dict[str, Any], variables: dict[str, str], place: Place, *, scales: bool
) -> Iterator[Problem]:
    options = cluster.get("autoscalerOptions") or {}
    head = (*place, "headGroupSpec", "template", "spec", "containers", 0, "env")
    if options.get("idleTimeoutSeconds", 0) < 0:
        yield (*place, "autoscalerOptions", "idleTimeoutSeconds"), "must not be negative"
    wanted = variables.get("RAY_enable_autoscaler_v2")
    if wanted in ("1", "true") and not scales:
        yield head, "RAY_enable_autoscaler_v2 needs enableInTreeAutoscaling: true"
    if wanted is not None and scales and options.get("version") is not None:
        yield head, "RAY_enable_autoscaler_v2 and autoscalerOptions.version are both set; keep the latter"
    if any(one.get("name") == "KUBERAY_GEN_AUTOSCALER_START_CMD" for one in options.get("env") or []):
        yield (
            (*place, "autoscalerOptions", "env"),
            "KUBERAY_GEN_AUTOSCALER_START_CMD is set by the operator; remove it",
        )


def _fault_tolerance(
    cluster: dict[str, Any], variables: dict[str, str], document: dict[str, Any], place: Place
) -> Iterator[Problem]:
    options = cluster.get("gcsFaultToleranceOptions")
    annotations = document["metadata"].get("annotations") or {}
    params = cluster["headGroupSpec"].get("rayStartParams") or {}
    head = (*place, "headGroupSpec")
    if (
        "RAY_REDIS_ADDRESS" in variables
        and options is None
        and annotations.get("ray.io/ft-enabled") != "true"
    ):
        yield head, "RAY_REDIS_ADDRESS needs gcsFaultToleranceOptions"
    if params.get("redis-username") or "REDIS_USERNAME" in variables:
        yield head, "the Redis user must be set in gcsFaultToleranceOptions.redisUsername"
    if options is None:
        return
    for name in ("RAY_REDIS_ADDRESS", "REDIS_PASSWORD"):
        if name in variables:
            yield head, f"{name} must be set in gcsFaultToleranceOptions"
    if params.get("redis-password"):
        yield head, "the Redis password must be set in gcsFaultToleranceOptions.redisPassword"
    for name in ("ray.io/ft-enabled", "ray.io/external-storage-namespace"):
        if annotations.get(name):
            yield ("metadata", "annotations", name), "is not allowed with gcsFaultToleranceOptions"
    here = (*place, "gcsFaultToleranceOptions")
    if options.get("backend", "redis") == "rocksdb":
        yield (*here, "backend"), "rocksdb requires a feature gate that is disabled by default in 1.7"
    elif options.get("storage") is not None:
        yield (*here, "storage"), "is allowed only with the backend rocksdb"


def _auth(cluster: dict[str, Any], place: Place) -> Iterator[Problem]:
    options = cluster.get("authOptions") or {}
    if options.get("mode") != "token":
        if options.get("enableK8sTokenAuth"):
            yield (*place, "authOptions", "enableK8sTokenAuth"), "needs mode: token"
        return
    version = re.match(r"^v?(\d+)\.(\d+)(?:\.(\d+))?", cluster.get("rayVersion") or "")
    if version is None:
        yield (*place, "rayVersion"), "authOptions.mode token needs it, such as 2.60.0"
    elif tuple(int(part or 0) for part in version.groups()) < _TOKEN_SINCE:
        yield (*place, "rayVersion"), "authOptions.mode token needs Ray 2.52.0 or later"
