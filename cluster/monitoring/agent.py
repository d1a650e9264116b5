"""Manifests of the CloudWatch agent, which reads Ray's Prometheus endpoints and sends the catalog's metrics.

The agent converts counters to the increase since its last reading, and drops histograms (AWS: "Prometheus
metric type conversion by the CloudWatch Agent"). Latency is therefore sent as the number of requests that
exceed the SLO's latency.
"""

import json
from collections.abc import Sequence
from typing import Any

import yaml

from cluster.kuberay.manifests.labels import INSTANCE_LABEL
from cluster.kuberay.settings import Environment
from cluster.monitoring.catalog import SERVICE, Catalog

NAME = "cloudwatch-agent"
"""Name of the agent, also of its service account, to which Terraform binds a role."""
IMAGE = "public.ecr.aws/cloudwatch-agent/cloudwatch-agent:1.300062.0b1304"
_JOB = "ray"
_AGENT, _PROMETHEUS = "cwagentconfig.json", "prometheus.yaml"
_FOLDERS = {_AGENT: "/etc/cwagentconfig", _PROMETHEUS: "/etc/prometheusconfig"}
"""Folder in which each part of the configuration is mounted.

The agent reads every file in the first folder as its own configuration.
"""
_POD_LABEL = "__meta_kubernetes_pod_label_" + INSTANCE_LABEL.replace(".", "_").replace("/", "_")
_OUTCOMES = {"answered": "[1-4]..", "refused": "429", "failed": "5..|422"}
"""Class of an inference request's status, by the last pattern that matches it.

Status 422 means a text on which the model fails.
"""
_DROPPED = (
    ("ray_sentiment_requests_total", "kind", "rejected|other"),  # outside the SLO
    ("ray_sentiment_tokens_total", "kind", "padding"),  # takes device time but is not billed
    ("ray_sentiment_model_info", "role", "shadow"),  # is not an additional pod
)
"""Series that are not sent: metric, label, values."""


def log_group(service: str) -> str:
    """Return the log group of the agent; CloudWatch extracts the metrics from it (embedded metric format)."""
    return f"/{service}/metrics"


def agent_documents(environment: Environment, catalog: Catalog, *, region: str) -> list[dict[str, Any]]:
    """Return all manifests of the agent, in the order of applying.

    Args:
        environment: service whose metrics are read; the agent runs in the namespace `network.monitoring`.
        catalog: metrics to send.
        region: AWS region of CloudWatch.
    """
    namespace = environment.network.monitoring
    place = {"name": NAME, "namespace": namespace}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": place},
        *_reads_pods(environment, namespace),
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": place,
            "data": {
                _AGENT: json.dumps(_sent(environment, catalog, region), indent=2),
                _PROMETHEUS: yaml.safe_dump(_read(environment, catalog), sort_keys=False),
            },
        },
        _deployment(namespace),
    ]


def _sent(environment: Environment, catalog: Catalog, region: str) -> dict[str, Any]:
    """Return the agent's own configuration: each set of dimensions with the metrics that it applies to."""
    by_dimensions: dict[str, tuple[Sequence[Sequence[str]], list[str]]] = {}
    for name, metric in catalog.sent_by("replica", "ray").items():
        sets = metric.dimensions
        by_dimensions.setdefault(json.dumps(sets), (sets, []))[1].append(f"^{name}$")
    return {
        "agent": {"region": region},
        "logs": {
            "metrics_collected": {
                "prometheus": {
                    "cluster_name": environment.nodes.eks_cluster if environment.nodes else environment.name,
                    "log_group_name": log_group(environment.name),
                    "prometheus_config_path": f"{_FOLDERS[_PROMETHEUS]}/{_PROMETHEUS}",
                    "emf_processor": {
                        "metric_namespace": catalog.namespace,
                        "metric_declaration": [
                            {
                                "source_labels": ["job"],
                                "label_matcher": f"^{_JOB}$",
                                "dimensions": sets,
                                "metric_selectors": names,
                            }
                            for sets, names in by_dimensions.values()
                        ],
                    },
                }
            },
            "force_flush_interval": 5,
        },
    }


def _read(environment: Environment, catalog: Catalog) -> dict[str, Any]:
    """Return Prometheus's configuration: which pods are scraped, and which of their series are kept."""
    names = "|".join(catalog.sent_by("replica", "ray"))
    return {
        "global": {"scrape_interval": f"{catalog.period_s}s", "scrape_timeout": "10s"},
        "scrape_configs": [
            {
                "job_name": _JOB,
                "kubernetes_sd_configs": [
                    {"role": "pod", "namespaces": {"names": [environment.namespace]}},
                ],
                "relabel_configs": [
                    {"source_labels": [_POD_LABEL], "regex": environment.name, "action": "keep"},
                    {
                        "source_labels": ["__meta_kubernetes_pod_container_port_name"],
                        "regex": "metrics",
                        "action": "keep",
                    },
                    {"target_label": SERVICE, "replacement": environment.name},
                ],
                "metric_relabel_configs": [
                    {"source_labels": ["__name__"], "regex": names, "action": "keep"},
                    *(
                        {
                            "source_labels": ["__name__", label],
                            "regex": f"{name};({values})",
                            "action": "drop",
                        }
                        for name, label, values in _DROPPED
                    ),
                    *(
                        {
                            "source_labels": ["status"],
                            "regex": statuses,
                            "target_label": "outcome",
                            "replacement": outcome,
                        }
                        for outcome, statuses in _OUTCOMES.items()
                    ),
                ],
            }
        ],
    }


def _reads_pods(environment: Environment, namespace: str) -> list[dict[str, Any]]:
    """Return a role in the service's namespace that permits the agent to list its pods, and nothing else."""
    place = {"name": NAME, "namespace": environment.namespace}
    return [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": place,
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": place,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": NAME},
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": namespace}],
        },
    ]


def _deployment(namespace: str) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": NAME}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME, "namespace": namespace, "labels": labels},
        "spec": {
            "replicas": 1,  # two replicas would count everything twice
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "serviceAccountName": NAME,
                    "containers": [
                        {
                            "name": NAME,
                            "image": IMAGE,
                            "env": [{"name": "CI_VERSION", "value": "k8s/1.3"}],
                            "resources": {
                                "requests": {"cpu": "100m", "memory": "256Mi"},
                                "limits": {"memory": "512Mi"},
                            },
                            "securityContext": {"allowPrivilegeEscalation": False},
                            "volumeMounts": [
                                {"name": _volume(part), "mountPath": folder, "readOnly": True}
                                for part, folder in _FOLDERS.items()
                            ],
                        }
                    ],
                    "volumes": [
                        {
                            "name": _volume(part),
                            "configMap": {"name": NAME, "items": [{"key": part, "path": part}]},
                        }
                        for part in _FOLDERS
                    ],
                },
            },
        },
    }


def _volume(part: str) -> str:
    """Return the part as a volume name, which must not contain a dot."""
    return part.partition(".")[0]
