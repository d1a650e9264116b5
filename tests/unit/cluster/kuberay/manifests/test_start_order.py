"""Tests of the order in which worker groups are started, by Ray's own scheduler on the rendered manifest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from ray.autoscaler._private.kuberay.autoscaling_config import AutoscalingConfigProducer
from ray.autoscaler.v2.event_logger import AutoscalerEventLogger
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.instance_manager.subscribers.cloud_resource_monitor import CloudResourceMonitor
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil
from ray.core.generated.autoscaler_pb2 import ResourceRequest
from ray.core.generated.common_pb2 import LabelSelectorOperator
from ray.core.generated.instance_manager_pb2 import Instance, InstanceUpdateEvent

from cluster.cost.plan import configured, group_pods
from cluster.cost.prices import read_books
from cluster.kuberay.manifests.render import service_documents
from cluster.kuberay.manifests.serve_config import serve_config
from cluster.kuberay.settings import Environment, read_environment

LIST = read_books()["list"]
SAME = (
    "workers=[{name='large', instance_type='g5.12xlarge', max_pods=16},"
    " {name='small', instance_type='g5.4xlarge', max_pods=16, priority=10}]"
)
LARGE_FIRST = SAME.replace("max_pods=16}", "max_pods=16, priority=20}", 1)
SMALL_IS_LIMITED = SAME.replace("max_pods=16, priority=10", "max_pods=5, priority=10")


class Cluster:
    """Kubernetes API with one RayCluster: the one of the rendered RayService."""

    def __init__(self, environment: Environment) -> None:
        spec = service_documents(environment)[-1]["spec"]["rayClusterConfig"]
        self._cluster = {"metadata": {"name": "sentiment", "namespace": environment.namespace}, "spec": spec}

    def get(self, path: str) -> dict[str, Any]:
        assert path == "rayclusters/sentiment"
        return self._cluster


class Ray:
    """Ray's autoscaler for an environment: its configuration of the manifest, and its scheduler."""

    def __init__(self, environment: Environment) -> None:
        producer: Any = AutoscalingConfigProducer("sentiment", environment.namespace)
        producer.kubernetes_api_client = Cluster(environment)
        self._config = AutoscalingConfig(producer())
        [application] = serve_config(environment)["applications"]
        [deployment] = application["deployments"]
        of_the_code = {"num_cpus": environment.replica.cpus, "num_gpus": 1}
        self._options = deployment.get("ray_actor_options", of_the_code)
        self.availability = CloudResourceMonitor()

    def starts(self, replicas: int) -> dict[str, int]:
        """Return the number of pods by group that an empty cluster starts for so many pending replicas."""
        request = SchedulingRequest(
            disable_launch_config_check=True,
            node_type_configs=self._config.get_node_type_configs(),
            max_num_nodes=self._config.get_max_num_nodes(),
            resource_requests=ResourceRequestUtil.group_by_count([self._replica() for _ in range(replicas)]),
            cloud_resource_availabilities=self.availability.get_resource_availabilities(),
            recoverable_resource_availabilities=(self.availability.get_recoverable_resource_availabilities()),
        )
        silent: Any = Silent()
        reply = ResourceDemandScheduler(AutoscalerEventLogger(silent)).schedule(request)
        assert not reply.infeasible_resource_requests
        return {launch.instance_type: launch.count for launch in reply.to_launch}

    def _replica(self) -> ResourceRequest:
        selectors: Iterable[Mapping[str, str]] = [
            self._options.get("label_selector", {}),
            *(one["label_selector"] for one in self._options.get("fallback_strategy", [])),
        ]
        return ResourceRequestUtil.make(
            {"CPU": self._options["num_cpus"], "GPU": self._options["num_gpus"]},
            label_selectors=[
                [operator(key, value) for key, value in selector.items()]
                for selector in selectors
                if selector
            ],
        )


class Silent:
    """Logger of events without an output."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def operator(key: str, value: str) -> tuple[str, int, list[str]]:
    """Return a label's constraint as Ray's core passes it to the autoscaler."""
    if value.startswith("!"):
        return key, LabelSelectorOperator.LABEL_OPERATOR_NOT_IN, [value[1:]]
    return key, LabelSelectorOperator.LABEL_OPERATOR_IN, [value]


@pytest.mark.parametrize("pods", range(1, 17))
@pytest.mark.parametrize("changes", [(), (SAME,), (LARGE_FIRST,), (SMALL_IS_LIMITED,)])
def test_ray_starts_the_nodes_that_the_cost_counts(changes: tuple[str, ...], pods: int) -> None:
    environment = read_environment("prod", changes)
    started = Ray(environment).starts(pods)
    expected = group_pods(environment, pods)
    assert expected is not None
    assert started == {name: count for name, count in expected.items() if count}
    mix = configured(environment, LIST, pods)
    for kind, per_node in (("g5.4xlarge", 1), ("g5.12xlarge", 4)):
        on_it = sum(
            started.get(group.name, 0) for group in environment.workers if group.instance_types[0] == kind
        )
        assert mix.get(kind, 0) == -(-on_it // per_node)


def test_the_cheap_group_is_first() -> None:
    assert Ray(read_environment("prod", [SAME])).starts(2) == {"small": 2}
    assert Ray(read_environment("prod", [LARGE_FIRST])).starts(2) == {"large": 2}
    assert Ray(read_environment("prod")).starts(5) == {"floor": 2, "small": 3}


@pytest.mark.parametrize("changes", [(), (SAME,)])
def test_a_group_that_is_sold_out_is_replaced_by_the_next_one(changes: tuple[str, ...]) -> None:
    ray = Ray(read_environment("prod", changes))
    assert ray.starts(8)["small"] > 0
    timeout = InstanceUpdateEvent(
        instance_id="1", instance_type="small", new_instance_status=Instance.ALLOCATION_TIMEOUT
    )
    ray.availability.notify([timeout])
    started = ray.starts(8)
    assert "small" not in started and started["large"] == 8 - started.get("floor", 0)
    running = InstanceUpdateEvent(
        instance_id="2", instance_type="small", new_instance_status=Instance.RAY_RUNNING
    )
    ray.availability.notify([running])
    assert ray.starts(8)["small"] == 8 - started.get("floor", 0)


def test_pods_of_every_group_offer_ray_the_same_cpus() -> None:
    environment = read_environment("prod", [SAME])
    groups = service_documents(environment)[-1]["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    requests = [
        group["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] for group in groups
    ]
    offered = [
        group["rayStartParams"].get("num-cpus", cpus) for group, cpus in zip(groups, requests, strict=True)
    ]
    assert requests == ["11", "14"] and offered == ["11", "11"]


def test_pods_that_do_not_start_are_replaced_within_minutes_where_there_is_another_group() -> None:
    def timeout(*changes: str) -> Any:
        cluster = service_documents(read_environment("prod", changes))[-1]["spec"]["rayClusterConfig"]
        return cluster["autoscalerOptions"].get("env")

    name = "RAY_AUTOSCALER_RECONCILE_ALLOCATE_STATUS_TIMEOUT_S"
    assert timeout() == [{"name": name, "value": "900"}]
    assert timeout("nodes.start_timeout_s=1200") == [{"name": name, "value": "1200"}]
    assert timeout("workers=[{name='a', instance_type='g5.4xlarge', max_pods=16}]") is None
