"""Operator for the Kubernetes API stand-in: it applies a RayService to a simulated world of pods.

The world is that of the controller's own tests. KubeRay's actions between two calls are executed at the
calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from cluster.kuberay.client.resources import POD, RAY_SERVICE
from cluster.rollout.errors import MetricSourceError
from cluster.rollout.metric_sources import Reading
from cluster.rollout.targets.serve_config import options_of, split_of
from tests.integration.kube_api import Fault, KubeApi
from tests.unit.cluster.rollout.world import World

NAMESPACE, NAME = "sentiment", "sentiment"
PATH = RAY_SERVICE.path(NAMESPACE, NAME)
CLUSTER = "sentiment-abcde"


@dataclass
class Operator:
    """Operator that acts on the RayService at each call.

    Attributes:
        api: the stand-in.
        world: the pods.
        lag: number of calls after a change before the operator acts on it.
        absent: while set, the operator does nothing.
        refuses: a model that Serve cannot deploy.
        busy: whether it writes a status at every third call.
        fault: returns the fault of a call, by its number from 1, method and path.
    """

    api: KubeApi
    world: World
    lag: int = 2
    absent: bool = False
    refuses: str = ""
    busy: bool = False
    fault: Any = None
    calls: int = 0
    _left: int = 0
    _done: int = 0

    def __post_init__(self) -> None:
        self.api.before = self.before
        for number in range(self.world.replicas):
            name = f"{CLUSTER}-worker-{number}"
            self.api.put(POD.path(NAMESPACE, name), pod(name))
            page = self.page if number == 0 else str
            self.api.pages[f"{POD.path(NAMESPACE, name)}:8080/proxy/metrics"] = page

    def before(self, method: str, path: str) -> Fault:
        self.calls += 1
        if not self.absent and PATH in self.api.objects:
            self._act()
        if self.fault is None:
            return None
        befalls: Fault = self.fault(self.calls, method, path)
        return befalls

    def page(self) -> str:
        try:
            return exposition(self.world.reading())
        except MetricSourceError:
            return ""

    def _act(self) -> None:
        service = self.api.objects[PATH]
        generation = service["metadata"]["generation"]
        if generation != self._done:
            self._done, self._left = generation, self.lag
            self._tell(service)
            self._report("DEPLOYING")
        elif self._left:
            self._left -= 1
            if not self._left:
                self._report("RUNNING")
        elif self.busy and self.calls % 3 == 0:
            self._report("RUNNING")

    def _tell(self, service: dict[str, Any]) -> None:
        """Apply the configuration as Serve does: immediately, while the pods load."""
        [application] = yaml.safe_load(service["spec"]["serveConfigV2"])["applications"]
        options = options_of(application, "classifier")
        self.world.count()
        self.world.split = split_of(options["user_config"])
        self.world.splits.append(self.world.split)
        self.world.replicas = max(self.world.replicas, options["autoscaling_config"]["min_replicas"])

    def _report(self, status: str) -> None:
        split = self.world.split
        failed = self.refuses and self.refuses in (split.champion, split.canary)
        application = {
            "status": "DEPLOY_FAILED" if failed else status,
            "message": f"Serve cannot deploy {self.refuses}" if failed else "",
            "serveDeploymentStatuses": {
                "classifier": {"status": "HEALTHY" if status == "RUNNING" else "UPDATING"}
            },
        }
        ready = {"type": "Ready", "status": "True", "reason": "NonZeroServeEndpoints", "message": ""}
        told = {
            "conditions": [ready],
            "numServeEndpoints": self.world.replicas,
            "activeServiceStatus": {
                "rayClusterName": CLUSTER,
                "applicationStatuses": {"sentiment": application},
            },
        }
        self.api.set_status(PATH, told)


def exposition(reading: Reading) -> str:
    """Return a reading in Prometheus's text format."""
    lines = []
    for (name, labels), value in reading.series.items():
        tags = ",".join(f'{label}="{text}"' for label, text in sorted(labels))
        lines.append(f"{name}{{{tags}}} {value}\n")
    return "".join(lines)


def pod(name: str) -> dict[str, Any]:
    """Return a running worker."""
    ports = [{"name": "serve", "containerPort": 8000}, {"name": "metrics", "containerPort": 8080}]
    return {
        "metadata": {"name": name, "labels": {"ray.io/cluster": CLUSTER}},
        "spec": {"containers": [{"name": "ray-worker", "ports": ports}]},
        "status": {"phase": "Running"},
    }
