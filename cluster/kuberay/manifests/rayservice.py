"""Manifests of the RayService and of the training's RayJob."""

from typing import Any

import yaml

from cluster.kuberay.manifests.labels import COMPONENT_LABEL, metadata
from cluster.kuberay.manifests.pods import (
    autoscaler_options,
    head_group,
    ray_version,
    serving_group,
    variable_list,
    worker_group,
)
from cluster.kuberay.manifests.policies import TRAINING_COMPONENT, training_account
from cluster.kuberay.manifests.redis import gcs_fault_tolerance
from cluster.kuberay.manifests.serve_config import serve_config
from cluster.kuberay.manifests.training_job import CLAIM_FOLDER, entrypoint, job_name, variables
from cluster.kuberay.settings import INCREMENTAL, Environment, TrainingSettings, UpgradeSettings

API_VERSION = "ray.io/v1"
INITIALIZING_TIMEOUT = "ray.io/initializing-timeout"
"""Annotation of a RayService, in seconds. KubeRay 1.7 does not read the thresholds that it replaces,
`serviceUnhealthySecondThreshold` and `deploymentUnhealthySecondThreshold`."""


def ray_service(environment: Environment) -> dict[str, Any]:
    """Return the RayService: one Ray cluster, its application, and the upgrade strategy."""
    cluster: dict[str, Any] = {
        "rayVersion": ray_version(),
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": autoscaler_options(environment),
        "authOptions": {"mode": environment.auth},
        "headGroupSpec": head_group(environment),
        "workerGroupSpecs": [serving_group(environment, group) for group in environment.workers],
    }
    if environment.redis:
        cluster["gcsFaultToleranceOptions"] = gcs_fault_tolerance(environment, environment.redis)
    about = metadata(environment, environment.name)
    about["annotations"] = {INITIALIZING_TIMEOUT: str(environment.initializing_timeout_s)}
    return {
        "apiVersion": API_VERSION,
        "kind": "RayService",
        "metadata": about,
        "spec": {
            "excludeHeadPodFromServeSvc": True,
            "upgradeStrategy": _upgrade(environment.upgrade),
            "serveConfigV2": yaml.safe_dump(serve_config(environment), sort_keys=False),
            "rayClusterConfig": cluster,
        },
    }


def ray_job(environment: Environment, training: TrainingSettings) -> dict[str, Any]:
    """Return the RayJob of a training run, whose cluster is deleted when the run has ended."""
    head = head_group(environment)
    head["template"]["spec"]["containers"][0]["image"] = training.image
    workers = worker_group(environment, training.workers, training.image)
    for group in (head, workers):
        group["template"]["metadata"]["labels"][COMPONENT_LABEL] = TRAINING_COMPONENT
        group["template"]["spec"]["serviceAccountName"] = training_account(environment)
        pod = group["template"]["spec"]
        pod["containers"][0]["env"] += variable_list(variables(training))
        if training.claim:
            pod["volumes"].append({"name": "data", "persistentVolumeClaim": {"claimName": training.claim}})
            pod["containers"][0]["volumeMounts"].append({"name": "data", "mountPath": CLAIM_FOLDER})
    del workers["template"]["spec"]["containers"][0][
        "readinessProbe"
    ]  # KubeRay's own: nothing is served here
    for key in ("replicas", "minReplicas", "maxReplicas"):
        workers[key] = training.workers.max_pods
    return {
        "apiVersion": API_VERSION,
        "kind": "RayJob",
        "metadata": metadata(environment, job_name(environment.name, training)),
        "spec": {
            "entrypoint": entrypoint(training),
            "submissionMode": "HTTPMode",  # a submitter pod would not be covered by the network policy
            "backoffLimit": 0,
            "activeDeadlineSeconds": training.deadline_s,
            "shutdownAfterJobFinishes": True,
            **({"ttlSecondsAfterFinished": training.keep_s} if training.keep_s else {}),  # 0 is the default
            "rayClusterSpec": {
                "rayVersion": ray_version(),
                "authOptions": {"mode": environment.auth},
                "headGroupSpec": head,
                "workerGroupSpecs": [workers],
            },
        },
    }


def _upgrade(upgrade: UpgradeSettings) -> dict[str, Any]:
    if upgrade.type != INCREMENTAL:
        return {"type": upgrade.type}
    return {
        "type": upgrade.type,
        "clusterUpgradeOptions": {
            "gatewayClassName": upgrade.gateway_class,
            "maxSurgePercent": upgrade.surge_percent,
            "stepSizePercent": upgrade.step_percent,
            "intervalSeconds": upgrade.interval_s,
        },
    }
