"""GCS fault tolerance: the head's state is in Redis, so that the workers survive the loss of the head."""

from typing import Any

from cluster.kuberay.manifests.labels import INSTANCE_LABEL, metadata
from cluster.kuberay.settings import Environment, RedisSettings

PORT = 6379
_USER_ID = 999
"""User id in the official image."""


def redis_name(environment: Environment) -> str:
    """Return the name of the rendered Redis, of its Service and of its label."""
    return f"{environment.name}-redis"


def gcs_fault_tolerance(environment: Environment, redis: RedisSettings) -> dict[str, Any]:
    """Return the Ray cluster's options for Redis."""
    return {
        "redisAddress": redis.address or f"{redis_name(environment)}:{PORT}",
        "redisPassword": {"valueFrom": {"secretKeyRef": {"name": redis.secret, "key": "password"}}},
    }


def redis_documents(environment: Environment, redis: RedisSettings) -> list[dict[str, Any]]:
    """Return a Redis with a disk and its Service; none if the address of another Redis is configured."""
    if redis.address:
        return []
    name = redis_name(environment)
    about = metadata(environment, name, instance=name)
    ping = {"exec": {"command": ["sh", "-c", "redis-cli ping | grep -q PONG"]}, "periodSeconds": 10}
    container = {
        "name": "redis",
        "image": redis.image,
        # Writes reach the disk within a second; if the memory is full, writes are rejected and nothing is
        # evicted.
        "command": ["sh", "-c"],
        "args": [
            'exec redis-server --requirepass "$REDISCLI_AUTH" --appendonly yes --dir /data '
            "--maxmemory 512mb --maxmemory-policy noeviction"
        ],
        "env": [
            {
                "name": "REDISCLI_AUTH",
                "valueFrom": {"secretKeyRef": {"name": redis.secret, "key": "password"}},
            }
        ],
        "ports": [{"name": "redis", "containerPort": PORT}],
        "resources": {"requests": {"cpu": "100m", "memory": "768Mi"}, "limits": {"memory": "768Mi"}},
        "livenessProbe": {**ping, "initialDelaySeconds": 10},
        "readinessProbe": ping,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    pod = {
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER_ID,
            "runAsGroup": _USER_ID,
            "fsGroup": _USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
    }
    claim = {
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            **({"storageClassName": redis.storage_class} if redis.storage_class else {}),
            "resources": {"requests": {"storage": f"{redis.disk_gib}Gi"}},
        },
    }
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": about,
            "spec": {
                "clusterIP": "None",
                "selector": {INSTANCE_LABEL: name},
                "ports": [{"name": "redis", "port": PORT, "targetPort": PORT}],
            },
        },
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": about,
            "spec": {
                "serviceName": name,
                "replicas": 1,
                "selector": {"matchLabels": {INSTANCE_LABEL: name}},
                "template": {"metadata": {"labels": {INSTANCE_LABEL: name}}, "spec": pod},
                "volumeClaimTemplates": [claim],
                # The data belongs to the Ray cluster, which is deleted too.
                "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Retain"},
            },
        },
    ]
