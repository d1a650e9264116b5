"""Pod templates of Ray's head and workers, with their common environment variables."""

from importlib.metadata import version
from typing import Any

from cluster.kuberay.manifests.labels import COMPONENT_LABEL, INSTANCE_LABEL
from cluster.kuberay.manifests.serve_config import FLOOR_LABEL
from cluster.kuberay.manifests.termination import (
    DRAIN_ENVIRONMENT,
    ENDPOINTS_LAG_S,
    HEAD_GRACE_S,
    TERMINATION_GRACE_S,
)
from cluster.kuberay.settings import Environment, WorkerSettings
from serve_app.ray_environment import ONE_HOP

GPU_TAINT = "nvidia.com/gpu"
USER_ID = 1000
"""User id in the image; see cluster/Dockerfile."""

SERVE_PORT = 8000
DASHBOARD_PORT = 8265
METRICS_PORT = 8080
HAPROXY_METRICS_PORT = 9101
AGENT_PORT = 52365
"""Port of the agent on every Ray node, which answers health checks."""

HAPROXY = "/app/serve_app/haproxy/haproxy"
"""Path in the image of HAProxy with this service's timeouts and error responses, and a standby."""
AUTOSCALER_MILLICORES, AUTOSCALER_MIB = 200, 512
"""Requests of the autoscaler's container in the head pod of a service."""
_START_TIMEOUT = "RAY_AUTOSCALER_RECONCILE_ALLOCATE_STATUS_TIMEOUT_S"
_CACHE_FOLDER = "/var/cache/sentiment"
_KEYS_FOLDER = "/etc/sentiment/api-keys"
_WORKER_RECONNECT_S = 600
"""Time that workers wait for a new head, longer than its start takes (Ray's default is 60 s)."""
_LOCKED_DOWN = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
}


def ray_version() -> str:
    """Return the locked version of Ray, which the image has too."""
    return version("ray")


def head_group(environment: Environment) -> dict[str, Any]:
    """Return the head group, which runs no Serve replicas and no tasks, because it offers no CPUs."""
    head = environment.head
    template = _template(environment, "head", environment.image, head.cpus, head.memory_gib, gpus=0)
    template["metadata"]["annotations"] = {"karpenter.sh/do-not-disrupt": "true"}
    container = template["spec"]["containers"][0]
    container["ports"] = [
        {"name": "gcs-server", "containerPort": 6379},
        {"name": "dashboard", "containerPort": DASHBOARD_PORT},
        {"name": "client", "containerPort": 10001},
        {"name": "serve", "containerPort": SERVE_PORT},
        {"name": "metrics", "containerPort": METRICS_PORT},
    ]
    template["spec"]["terminationGracePeriodSeconds"] = HEAD_GRACE_S
    container["readinessProbe"] = _probe(AGENT_PORT, "/api/healthz", period_s=5, failures=10)
    return {
        "rayStartParams": {"dashboard-host": "0.0.0.0", "num-cpus": "0"},
        "template": template,
    }


def worker_group(environment: Environment, group: WorkerSettings, image: str | None = None) -> dict[str, Any]:
    """Return a worker group whose workers run one replica each.

    Args:
        environment: Environment of the cluster.
        group: Size and bounds of the group.
        image: Image to use instead of the environment's.
    """
    size = group.size
    template = _template(
        environment, "worker", image or environment.image, size.cpus, size.memory_gib, gpus=group.gpus
    )
    container = template["spec"]["containers"][0]
    container["ports"] = [
        {"name": "serve", "containerPort": SERVE_PORT},
        {"name": "metrics", "containerPort": METRICS_PORT},
        {"name": "haproxy-metrics", "containerPort": HAPROXY_METRICS_PORT},
    ]
    container["env"] += variable_list({"RAY_gcs_rpc_server_reconnect_timeout_s": str(_WORKER_RECONNECT_S)})
    # Ready means that a replica in this pod accepts requests, see serve_app/haproxy/configuration.py.
    own_address = {"valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    container["env"].append({"name": "HAPROXY_OWN_ADDRESS", **own_address})
    container["lifecycle"] = {"preStop": {"sleep": {"seconds": ENDPOINTS_LAG_S}}}
    container["readinessProbe"] = _probe(SERVE_PORT, "/-/healthz", period_s=1, failures=2)
    if group.instance_types:
        template["spec"]["affinity"] = _on_any_of(group, environment)
        template["spec"]["tolerations"] = [{"key": GPU_TAINT, "operator": "Exists", "effect": "NoSchedule"}]
    return {
        "groupName": group.name,
        "replicas": group.min_pods,
        "minReplicas": group.min_pods,
        "maxReplicas": group.max_pods,
        "rayStartParams": {},
        "scaleStrategy": {},  # the operator's Update writes this field
        "template": template,
    }


def serving_group(environment: Environment, group: WorkerSettings) -> dict[str, Any]:
    """Return a worker group of the service: spread over nodes and zones, and with its place in the order.

    Ray's autoscaler starts the group whose resources a replica uses best, and only among equal ones that
    with the highest priority. Therefore Ray counts as many CPUs in every group as a replica uses.
    """
    manifest = worker_group(environment, group)
    manifest["template"]["spec"]["topologySpreadConstraints"] = [
        _spread(environment, group, key) for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    ]
    if group.size.cpus != environment.replica.cpus:
        manifest["rayStartParams"]["num-cpus"] = str(environment.replica.cpus)
    if group.priority:  # the operator's Update drops 0, the default
        manifest["priority"] = group.priority
    if group in environment.floor:
        manifest["labels"] = {FLOOR_LABEL: "true"}
    return manifest


def _spread(environment: Environment, group: WorkerSettings, key: str) -> dict[str, Any]:
    """Return a preference for nodes or zones with fewer workers of the service.

    Karpenter satisfies a preference as long as it can start nodes for it. With a smaller skew it would start
    a node with four GPUs for each pod.
    """
    return {
        "maxSkew": group.pods_per_node,
        "topologyKey": key,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": worker_labels(environment)},
    }


def worker_labels(environment: Environment) -> dict[str, str]:
    """Return the labels of the serving workers."""
    return {INSTANCE_LABEL: environment.name, COMPONENT_LABEL: "ray-worker"}


def _on_any_of(group: WorkerSettings, environment: Environment) -> dict[str, Any]:
    """Return an affinity for the group's instance types and, if it has its own, capacity types."""
    labels = {"node.kubernetes.io/instance-type": group.instance_types}
    if set(environment.capacity_of(group)) != set(environment.capacity):
        labels["karpenter.sh/capacity-type"] = environment.capacity_of(group)
    expressions = [{"key": key, "operator": "In", "values": list(values)} for key, values in labels.items()]
    required = {"nodeSelectorTerms": [{"matchExpressions": expressions}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}


def autoscaler_options(environment: Environment) -> dict[str, Any]:
    """Return the options of Ray's autoscaler in the head pod, which requests pods for pending replicas."""
    options = {
        "version": "v2",
        "idleTimeoutSeconds": 120,
        "resources": {
            "requests": {"cpu": f"{AUTOSCALER_MILLICORES}m", "memory": f"{AUTOSCALER_MIB}Mi"},
            "limits": {"memory": "1Gi"},
        },
        "securityContext": dict(_LOCKED_DOWN),
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    if environment.nodes and len(environment.workers) > 1:
        # Ray's default is an hour. Then the group counts as sold out, and another one is preferred.
        timeout = {_START_TIMEOUT: str(environment.nodes.start_timeout_s)}
        options["env"] = variable_list(timeout)
    return options


def _template(
    environment: Environment, role: str, image: str, cpus: int, memory_gib: int, gpus: int
) -> dict[str, Any]:
    """Return the common pod template of head and workers."""
    amounts = {"cpu": str(cpus), "memory": _amount(memory_gib)}
    limits = {"memory": amounts["memory"], **({GPU_TAINT: str(gpus)} if gpus else {"cpu": amounts["cpu"]})}
    spec: dict[str, Any] = {
        "serviceAccountName": environment.name,
        # A Service named `sentiment` would add variables such as SENTIMENT_PORT, which look like settings.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": TERMINATION_GRACE_S,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": f"ray-{role}",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "env": variable_list(_shared(environment)),
                "resources": {
                    "requests": {**amounts, **({GPU_TAINT: str(gpus)} if gpus else {})},
                    "limits": limits,
                },
                "securityContext": dict(_LOCKED_DOWN),
                "livenessProbe": _probe(AGENT_PORT, "/api/healthz", period_s=10, failures=12, delay_s=30),
                "volumeMounts": [
                    {"name": "tmp", "mountPath": "/tmp"},
                    {"name": "models", "mountPath": _CACHE_FOLDER},
                ],
            }
        ],
        "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "models", "emptyDir": {}}],
    }
    if environment.api_keys_secret:
        mode = 0o440  # readable for the file system's group, which is the user's
        source = {"secretName": environment.api_keys_secret, "defaultMode": mode}
        spec["volumes"].append({"name": "api-keys", "secret": source})
        # The entire folder, because a file mounted by subPath does not change with the Secret.
        mount = {"name": "api-keys", "mountPath": _KEYS_FOLDER, "readOnly": True}
        spec["containers"][0]["volumeMounts"].append(mount)
    if environment.pull_secret:
        spec["imagePullSecrets"] = [{"name": environment.pull_secret}]
    return {
        "metadata": {"labels": {INSTANCE_LABEL: environment.name, COMPONENT_LABEL: f"ray-{role}"}},
        "spec": spec,
    }


def _shared(environment: Environment) -> dict[str, str]:
    """Return the environment variables of every Ray pod; they must be the same on all of them."""
    gpus = environment.workers[0].gpus
    return {
        **ONE_HOP,
        **DRAIN_ENVIRONMENT,
        "RAY_SERVE_HAPROXY_BINARY_PATH": HAPROXY,
        # With `token`, KubeRay sets RAY_AUTH_MODE and the token on every pod.
        **({"RAY_AUTH_MODE": "disabled"} if environment.auth == "disabled" else {}),
        **({"SENTIMENT_API_KEYS_FILE": f"{_KEYS_FOLDER}/keys"} if environment.api_keys_secret else {}),
        "SENTIMENT_CACHE_DIR": _CACHE_FOLDER,
        "SENTIMENT_REPLICA_CPUS": str(environment.replica.cpus),
        "SENTIMENT_REPLICA_GPUS": str(gpus),
        "SENTIMENT_DEVICE": "cuda" if gpus else "cpu",
        **environment.environment,
    }


def _amount(gib: int) -> str:
    """Return a quantity in Kubernetes' canonical form: in the largest unit of which it is a multiple."""
    return f"{gib // 1024}Ti" if gib % 1024 == 0 else f"{gib}Gi"


def variable_list(values: dict[str, str]) -> list[dict[str, str]]:
    """Return the `env` of a container, without empty values, which the operator's Update removes too."""
    return [{"name": name, **({"value": value} if value else {})} for name, value in values.items()]


def _probe(port: int, path: str, period_s: int, failures: int, delay_s: int = 0) -> dict[str, Any]:
    return {
        "httpGet": {"port": port, "path": path},
        **({"initialDelaySeconds": delay_s} if delay_s else {}),  # the operator's Update drops 0
        "periodSeconds": period_s,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }
