"""Tests that alarms, dashboard and agent use metrics that the code sends, and the SLO's thresholds."""

from __future__ import annotations

import ast
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from cluster.autoscaling.config import PolicyConfig
from cluster.aws.functions.runtime import NAMESPACE
from cluster.cost.plan import pod_hour
from cluster.cost.prices import read_books
from cluster.kuberay.settings import read_environment
from cluster.monitoring.agent import agent_documents
from cluster.monitoring.catalog import CATALOG, SERVICE, Catalog, read_catalog
from loadtest.slo import SLO
from tests.conftest import ROOT

FUNCTIONS = ROOT / "cluster" / "aws" / "functions"


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return read_catalog()


def declared(path: Path) -> dict[str, tuple[str, set[str]]]:
    """Return the metrics that a file declares, under Ray's Prometheus names: name → kind, tags."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        kind = node.func.id
        if kind not in ("Counter", "Gauge", "Histogram"):
            continue
        name = ast.literal_eval(node.args[0])
        tags = {ast.literal_eval(one.value) for one in node.keywords if one.arg == "tag_keys"}
        found[f"ray_{name}" + ("_total" if kind == "Counter" else "")] = (
            kind,
            {tag for group in tags for tag in group},
        )
    return found


def test_replicas_send_what_is_asked_of_them(catalog: Catalog) -> None:
    sent = declared(ROOT / "serve_app" / "metrics.py")
    for name, metric in catalog.sent_by("replica").items():
        kind, tags = sent[name]
        assert kind in ("Counter", "Gauge"), "the CloudWatch agent drops histograms"
        made_by_the_agent = {SERVICE, *({"outcome"} if "status" in tags else ())}
        assert {label for one in metric.dimensions for label in one} <= tags | made_by_the_agent


def test_ray_sends_what_is_asked_of_it(catalog: Catalog) -> None:
    spec = find_spec("ray")
    assert spec is not None and spec.submodule_search_locations
    reporter = Path(spec.submodule_search_locations[0]) / "dashboard/modules/reporter/reporter_agent.py"
    for name in catalog.sent_by("ray"):
        assert f'"{name.removeprefix("ray_")}": Gauge(' in reporter.read_text()


def test_functions_send_what_is_asked_of_them(catalog: Catalog) -> None:
    assert catalog.namespace == NAMESPACE
    sources = [ast.parse(path.read_text()) for path in FUNCTIONS.glob("*.py")]
    sent = {
        node.value
        for source in sources
        for node in ast.walk(source)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert catalog.sent_by("function").keys() <= sent


def test_the_thresholds_are_the_promises(catalog: Catalog) -> None:
    assert (catalog.promise.requests_per_minute, catalog.promise.p95_ms) == (SLO().per_minute, SLO().p95_ms)
    assert PolicyConfig().requests_per_minute == catalog.promise.offered_per_minute
    assert catalog.alarms["latency"].threshold == pytest.approx(1 - 0.95)
    source = (ROOT / "serve_app" / "metrics.py").read_text()
    assert f"_PROMISED_MS = {catalog.promise.p95_ms:.0f}\n" in source


def test_the_dashboards_price_is_the_price_books() -> None:
    price = pod_hour(read_environment("prod"), read_books()["list"])
    variables = (ROOT / "cluster" / "aws" / "terraform" / "variables.tf").read_text()
    assert f"default     = {price.normalize()}\n" in variables


@pytest.mark.parametrize(
    ("alarm", "fault"),
    [
        ({"queries": {"a": {"metric": "nobodys", "statistic": "Sum"}}}, "which is not sent"),
        (
            {"queries": {"a": {"metric": "probe_ok", "statistic": "Sum", "outcome": "failed"}}},
            "not sent by them",
        ),
        ({"for": 3, "of": 2}, "more than of"),
        ({"queries": {}}, "at least 1"),
    ],
)
def test_an_alarm_that_cannot_sound_is_refused(alarm: dict[str, Any], fault: str) -> None:
    tree = yaml.safe_load(CATALOG.read_text())
    tree["alarms"]["gpu"] |= alarm
    with pytest.raises(ValidationError, match=fault):
        Catalog.model_validate(tree)


@pytest.fixture(scope="module")
def agent(catalog: Catalog) -> dict[str, dict[str, Any]]:
    documents = agent_documents(read_environment("prod"), catalog, region="eu-west-1")
    return {document["kind"]: document for document in documents}


def test_the_agent_sends_every_metric_by_its_dimensions(
    catalog: Catalog, agent: dict[str, dict[str, Any]]
) -> None:
    sent = json.loads(agent["ConfigMap"]["data"]["cwagentconfig.json"])
    assert sent["agent"]["region"] == "eu-west-1"
    processor = sent["logs"]["metrics_collected"]["prometheus"]["emf_processor"]
    assert processor["metric_namespace"] == catalog.namespace
    found = {
        name.strip("^$"): declaration["dimensions"]
        for declaration in processor["metric_declaration"]
        for name in declaration["metric_selectors"]
    }
    assert found == {name: metric.dimensions for name, metric in catalog.sent_by("replica", "ray").items()}


def test_the_agent_mounts_its_configuration_where_it_looks(agent: dict[str, dict[str, Any]]) -> None:
    data = agent["ConfigMap"]["data"]
    [container] = agent["Deployment"]["spec"]["template"]["spec"]["containers"]
    volumes = {one["name"]: one for one in agent["Deployment"]["spec"]["template"]["spec"]["volumes"]}
    mounted = {
        f"{mount['mountPath']}/{item['path']}": item["key"]
        for mount in container["volumeMounts"]
        for item in volumes[mount["name"]]["configMap"]["items"]
    }
    assert set(mounted.values()) == data.keys()
    path = json.loads(data["cwagentconfig.json"])["logs"]["metrics_collected"]["prometheus"][
        "prometheus_config_path"
    ]
    assert mounted[path] == "prometheus.yaml"
    assert agent["Deployment"]["spec"]["replicas"] == 1  # two replicas would count every metric twice
