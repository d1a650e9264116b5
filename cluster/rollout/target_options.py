"""Options that select the cluster of a rollout, and the target and the metric source that they select."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cluster.kuberay.client.client import KubeRay
    from cluster.rollout.metric_sources import MetricSource
    from cluster.rollout.targets.base import Target

_TIMEOUT_S = 30.0
_PATIENCE_S = 10.0
"""Seconds to retry one call to the Kubernetes API.

The controller also retries, and reads commands in between.
"""


def add_target_options(parser: argparse.ArgumentParser) -> None:
    """Add the options to the parser of a verb."""
    parser.add_argument(
        "--target",
        choices=("serve", "rayservice"),
        default="serve",
        help="a Ray cluster by its dashboard, or a RayService by the Kubernetes API (%(default)s)",
    )
    parser.add_argument(
        "--dashboard", default="http://127.0.0.1:8265", metavar="URL", help="of the Ray cluster (%(default)s)"
    )
    parser.add_argument("--namespace", default="sentiment", help="of the RayService (%(default)s)")
    parser.add_argument("--name", default="sentiment", help="of the RayService (%(default)s)")
    parser.add_argument("--context", metavar="NAME", help="kubectl context (default: the current one)")
    parser.add_argument(
        "--take-over", action="store_true", help="own the RayService's serveConfigV2, whoever owns it now"
    )
    parser.add_argument("--application", default="sentiment", help="in Serve (%(default)s)")
    parser.add_argument("--deployment", default="classifier", help="in the application (%(default)s)")
    parser.add_argument(
        "--metrics",
        action="append",
        default=[],
        metavar="URL",
        help="a node's Prometheus endpoint; may be given several times (default: all that are listed)",
    )
    parser.add_argument("--prometheus", metavar="URL", help="a Prometheus server to read instead")
    parser.add_argument("--selector", default="", help='labels for it, such as namespace="prod"')


@contextmanager
def selected_target(chosen: argparse.Namespace) -> Iterator[tuple[Target, MetricSource]]:
    """Yield the deployment that serves and the source of its metrics.

    Raises:
        TargetError: no Kubernetes cluster can be reached.
    """
    import httpx

    from cluster.rollout.metric_sources import Endpoints, Prometheus
    from cluster.rollout.pod_metrics import PodMetrics
    from cluster.rollout.targets.rayservice import RayServiceTarget
    from cluster.rollout.targets.serve_api import ServeTarget

    inside = (chosen.application, chosen.deployment)
    with httpx.Client(timeout=_TIMEOUT_S) as client:
        target: Target
        source: MetricSource
        if chosen.target == "rayservice":
            kube, service = _kubernetes(chosen.context), (chosen.namespace, chosen.name)
            target = RayServiceTarget(kube, *service, *inside, take_over=chosen.take_over)
            source = PodMetrics(kube, *service)
        else:
            target = ServeTarget(chosen.dashboard, *inside, client=client)
            source = Endpoints(chosen.dashboard, client=client)
        if chosen.metrics:
            source = Endpoints(chosen.dashboard, chosen.metrics, client=client)
        if chosen.prometheus:
            source = Prometheus(chosen.prometheus, chosen.selector, client=client)
        yield target, source


def _kubernetes(context: str | None) -> KubeRay:
    from cluster.errors import KubeError
    from cluster.kuberay.client.client import ClientTiming, connect
    from cluster.rollout.errors import TargetError

    try:
        return connect(context, ClientTiming(patience_s=_PATIENCE_S, read_s=_PATIENCE_S))
    except KubeError as error:
        raise TargetError(str(error)) from error
