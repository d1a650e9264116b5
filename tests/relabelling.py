"""Relabelling of Prometheus series by the CloudWatch agent, according to the shipped configuration."""

from __future__ import annotations

import re
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from cluster.kuberay.settings import read_environment
from cluster.monitoring.agent import agent_documents
from cluster.monitoring.catalog import Catalog


def relabelled(catalog: Catalog, text: str) -> dict[str, list[tuple[str, Sample]]]:
    """Return the kept series by name: each with its type and the labels that CloudWatch receives.

    Args:
        catalog: Metrics that the agent is configured to send.
        text: Metrics in Prometheus's text format, as a pod exports them.
    """
    documents = agent_documents(read_environment("prod"), catalog, region="us-east-1")
    [configuration] = [one["data"]["prometheus.yaml"] for one in documents if one["kind"] == "ConfigMap"]
    rules = yaml.safe_load(configuration)["scrape_configs"][0]["metric_relabel_configs"]
    kept: dict[str, list[tuple[str, Sample]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = _apply(rules, {**sample.labels, "__name__": sample.name})
            if labels is not None:
                series = Sample(sample.name, labels, sample.value)
                kept.setdefault(sample.name, []).append((family.type, series))
    return kept


def _apply(rules: list[dict[str, Any]], labels: dict[str, str]) -> dict[str, str] | None:
    """Return the labels after Prometheus's relabelling; None if the series is dropped.

    Only the actions that the rules use are implemented.
    """
    for rule in rules:
        value = ";".join(labels.get(name, "") for name in rule["source_labels"])
        matches = re.fullmatch(rule["regex"], value) is not None
        match rule.get("action", "replace"):
            case "keep" if not matches:
                return None
            case "drop" if matches:
                return None
            case "replace" if matches:
                labels = {**labels, rule["target_label"]: rule["replacement"]}
    return labels
