"""Maximum amount of GPUs and vCPUs of all nodes: for the limit of the node pool and the account's quota."""

from collections.abc import Callable
from fractions import Fraction
from math import ceil

from cluster.kuberay.manifests.serve_config import deployments, serve_config
from cluster.kuberay.settings import INCREMENTAL, Capacity, Environment, WorkerSettings
from cluster.nodes import INSTANCE_TYPES, InstanceType

Amount = Callable[[InstanceType], int]


def peak_pods(environment: Environment) -> int:
    """Return the maximum number of serving pods at once: `serve.max_pods`, and the surge of an upgrade."""
    [(_, deployment)] = deployments(serve_config(environment))
    of_code = int(deployment["max_surge_percent"])
    percent = {
        "NewCluster": 100,
        INCREMENTAL: max(environment.upgrade.surge_percent, of_code),
        "None": of_code,
    }[environment.upgrade.type]
    return ceil(Fraction(environment.serve.max_pods * (100 + percent), 100))


def peak(environment: Environment, amount: Amount, capacity: Capacity | None = None) -> int:
    """Return the maximum amount of a resource on all nodes at once.

    These are the nodes of `peak_pods` and of the training's pods. Each pod counts with its share of the
    instance type that has the most per pod. The last node of a group may hold one pod only: the rest of it is
    added once per group.

    Args:
        environment: Environment of the pods.
        amount: Amount of the resource on a node, such as its GPUs.
        capacity: Count only pods that need this capacity type; default: all pods.
    """

    def is_counted(group: WorkerSettings) -> bool:
        return capacity is None or environment.capacity_of(group) == (capacity,)

    serving = [group for group in environment.workers if is_counted(group)]
    clusters = 1 if environment.upgrade.type == "None" else 2
    pods = min(peak_pods(environment), clusters * sum(group.max_pods for group in serving))
    total = pods * max((_per_pod(group, amount) for group in serving), default=Fraction(0))
    total += sum(_rest(group, amount) for group in serving)
    if environment.training and is_counted(group := environment.training.workers):
        total += group.max_pods * _per_pod(group, amount) + _rest(group, amount)
    return ceil(total)


def _per_pod(group: WorkerSettings, amount: Amount) -> Fraction:
    kinds = [INSTANCE_TYPES[name] for name in group.instance_types]
    return max((Fraction(amount(kind), kind.gpus) for kind in kinds), default=Fraction(0))


def _rest(group: WorkerSettings, amount: Amount) -> Fraction:
    """Return what a node with one pod has for other pods."""
    kinds = [INSTANCE_TYPES[name] for name in group.instance_types]
    rests = (Fraction(amount(kind) * (kind.gpus - 1), kind.gpus) for kind in kinds)
    return max(rests, default=Fraction(0))
