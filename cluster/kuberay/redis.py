"""GCS fault tolerance: the head's state in Redis, so that a lost head does not take the workers with it."""

from typing import Any

from cluster.kuberay.labels import INSTANCE_LABEL, metadata
from cluster.kuberay.settings import Environment, RedisSettings

PORT = 6379
_USER_ID = 999
"""Of the official image."""


def redis_name(environment: Environment) -> str:
    """Of the Redis that is rendered here, its Service and its label."""
    return f"{environment.name}-redis"


def gcs_fault_tolerance(environment: Environment, redis: RedisSettings) -> dict[str, Any]:
    """What the Ray cluster is told about it."""
    return {
        "redisAddress": redis.address or f"{redis_name(environment)}:{PORT}",
        "redisPassword": {"valueFrom": {"secretKeyRef": {"name": redis.secret, "key": "password"}}},
    }


def redis_documents(environment: Environment, redis: RedisSettings) -> list[dict[str, Any]]:
    """A Redis with a disk and its Service; none where an address of yours is set."""
    if redis.address:
        return []
    name = redis_name(environment)
    about = metadata(environment, name, instance=name)
    ping = {"exec": {"command": ["sh", "-c", "redis-cli ping | grep -q PONG"]}, "periodSeconds": 10}
    container = {
        "name": "redis",
        "image": redis.image,
        # Every write reaches the disk within a second; a full memory refuses writes and drops nothing.
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
                # What is on the disk is of the Ray cluster that is deleted with it.
                "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Retain"},
            },
        },
    ]
