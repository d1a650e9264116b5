"""Tests of the target on Serve's REST API: only one deployment's user_config changes."""

from __future__ import annotations

import copy
import json
from typing import Any

import httpx
import pytest

from cluster.rollout.errors import ForeignChangeError, LeaseLostError, TargetError
from cluster.rollout.plan import CanaryPods
from cluster.rollout.targets.base import SplitGuard, TrafficSplit
from cluster.rollout.targets.serve_api import ServeTarget

SENTIMENT = {
    "name": "sentiment",
    "route_prefix": "/",
    "import_path": "serve_app.app:app",
    "args": {"model": "builtin:"},
    "runtime_env": {"env_vars": {"SECRET": "kept"}},
    "deployments": [{"name": "classifier", "max_ongoing_requests": 77}],
}
OTHER = {"name": "other", "route_prefix": "/other", "import_path": "other:app"}
CANARY = TrafficSplit("builtin:", "s3://new", CanaryPods(1, shadow=False))


class Serve:
    """Fake of Serve's API that applies a configuration and reports it as deployed."""

    def __init__(self) -> None:
        self.applications = copy.deepcopy([SENTIMENT, OTHER])
        self.autoscaling: dict[str, Any] | None = None
        self.put: list[dict[str, Any]] = []
        self.headers: list[str | None] = []
        self.details: dict[str, Any] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/api/serve/applications/"
        self.headers.append(request.headers.get("authorization"))
        if request.method == "PUT":
            body = json.loads(request.content)
            self.put.append(body)
            self.applications = body["applications"]
            return httpx.Response(200)
        return httpx.Response(200, json=self._details())

    def _details(self) -> dict[str, Any]:
        applications: dict[str, Any] = {
            config["name"]: {
                "status": "RUNNING",
                "message": "",
                "deployed_app_config": config,
                "deployments": {},
            }
            for config in self.applications
        }
        [told] = [entry for entry in self.applications[0]["deployments"] if entry["name"] == "classifier"]
        scaling = told.get("autoscaling_config", self.autoscaling)
        replicas = told.get("num_replicas", 2)
        applications["sentiment"]["deployments"]["classifier"] = {
            "status": "HEALTHY",
            "message": "",
            "target_num_replicas": replicas,
            "replicas": [{"state": "RUNNING"}] * replicas,
            "deployment_config": {
                "user_config": told.get("user_config", {"champion": {"model": "builtin:"}}),
                "autoscaling_config": scaling,
            },
        }
        applications["sentiment"] |= self.details
        return {
            "proxy_location": "EveryNode",
            "http_options": {"host": "0.0.0.0", "port": 8000},
            "grpc_options": None,
            "applications": applications,
        }


@pytest.fixture
def serve() -> Serve:
    return Serve()


@pytest.fixture
def target(serve: Serve) -> ServeTarget:
    return ServeTarget("http://head:8265", client=httpx.Client(transport=httpx.MockTransport(serve)))


def test_a_mix_comes_back_as_it_was_told(target: ServeTarget) -> None:
    assert target.read().split == TrafficSplit("builtin:")
    for split in (
        CANARY,
        TrafficSplit("builtin:", "s3://new", CanaryPods(2, shadow=True)),
        TrafficSplit("s3://new"),
    ):
        target.apply(split)
        assert target.read().split == split and target.read().settled


def test_everything_else_stays(target: ServeTarget, serve: Serve) -> None:
    target.apply(CANARY)
    [body] = serve.put
    assert body["proxy_location"] == "EveryNode" and body["http_options"]["port"] == 8000
    assert "grpc_options" not in body
    sentiment, other = body["applications"]
    assert other == OTHER
    [classifier] = sentiment.pop("deployments")
    assert {**sentiment, "deployments": SENTIMENT["deployments"]} == SENTIMENT
    user_config = {"champion": {"model": "builtin:"}}
    user_config["canary"] = {"model": "s3://new", "replicas": 1, "shadow": False}  # type: ignore[dict-item]
    assert classifier == {"name": "classifier", "max_ongoing_requests": 77, "user_config": user_config}


def test_a_change_over_a_later_one_or_over_another_persons_is_refused(
    target: ServeTarget, serve: Serve
) -> None:
    told = frozenset((TrafficSplit("builtin:"), CANARY))
    target.apply(CANARY, SplitGuard(told, 7))
    assert (target.read().split, target.read().fence) == (CANARY, 7)
    with pytest.raises(LeaseLostError, match="by change 7 of another controller, later than change 6"):
        target.apply(TrafficSplit("builtin:"), SplitGuard(told, 6))
    with pytest.raises(ForeignChangeError, match="another program or person changed"):
        target.apply(TrafficSplit("builtin:"), SplitGuard(frozenset((TrafficSplit("builtin:"),)), 8))
    assert len(serve.put) == 1
    target.apply(TrafficSplit("builtin:"), SplitGuard(told, 8))
    assert (target.read().split, target.read().fence) == (TrafficSplit("builtin:"), 8)


def test_what_is_so_already_is_not_told_again(target: ServeTarget, serve: Serve) -> None:
    target.apply(CANARY)
    target.apply(CANARY)
    assert len(serve.put) == 1


def test_scaling_sets_the_number_or_the_autoscalers_least(target: ServeTarget, serve: Serve) -> None:
    target.scale(3)
    assert target.read().replicas == target.read().least == 3
    serve.applications = copy.deepcopy([SENTIMENT, OTHER])
    serve.autoscaling = {"min_replicas": 1, "max_replicas": 1, "target_ongoing_requests": 2}
    assert target.read().least == 1
    target.scale(2)
    entry = serve.put[-1]["applications"][0]["deployments"][0]
    assert entry["autoscaling_config"] == {"min_replicas": 2, "max_replicas": 2, "target_ongoing_requests": 2}


@pytest.mark.parametrize(
    ("details", "message"),
    [
        ({"deployed_app_config": None}, "started from code"),
        ({"deployments": {}, "status": "DEPLOYING"}, "no deployment 'classifier'"),
    ],
)
def test_what_cannot_be_rolled_out_to_is_told(
    target: ServeTarget, serve: Serve, details: dict[str, Any], message: str
) -> None:
    serve.details = details
    with pytest.raises(TargetError, match=message):
        target.read()
    assert serve.put == []


def test_an_unknown_application_and_a_dead_cluster_are_told() -> None:
    def dead(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    client = httpx.Client(transport=httpx.MockTransport(Serve()))
    with pytest.raises(TargetError, match=r"no application 'x' .*sentiment, other"):
        ServeTarget("http://head:8265", "x", client=client).read()
    with pytest.raises(TargetError, match="--dashboard"):
        ServeTarget("http://head:8265", client=httpx.Client(transport=httpx.MockTransport(dead))).read()


def test_the_token_is_sent(target: ServeTarget, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "s3cret")
    target.apply(CANARY)
    assert set(serve.headers) == {"Bearer s3cret"}
