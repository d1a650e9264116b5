"""Mixes of nodes for a number of pods: the one that an environment starts, and the cheapest one.

An environment's groups are started in the order of their priorities; a test compares it with Ray's scheduler.
The cheapest mix is an exact search over node types with their pods and prices.
"""

from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, Decimal

from cluster.cost.arithmetic import Mix, Rate
from cluster.cost.prices import Book
from cluster.errors import CostInputError
from cluster.kuberay.settings import Environment
from cluster.nodes import INSTANCE_TYPES

MOST_PODS = 10_000


def pods_for(requests_per_minute: Decimal, rate: Rate) -> int:
    """Return the number of pods for a request rate.

    Raises:
        CostInputError: The rate is not positive, or needs more than `MOST_PODS` pods.
    """
    if not requests_per_minute > 0:
        raise CostInputError(f"expected a rate above 0 requests per minute, got {requests_per_minute}")
    pods = int((requests_per_minute / rate.requests_per_minute).to_integral_value(ROUND_CEILING))
    if pods > MOST_PODS:
        raise CostInputError(
            f"{requests_per_minute} requests per minute need {pods} pods; expected at most {MOST_PODS}"
        )
    return pods


def configured(
    environment: Environment, book: Book, pods: int, *, spare_pods: int = 0, survive_node: bool = False
) -> Mix:
    """Return the nodes that an environment starts for this number of pods, if every type is available.

    Groups with `min_pods` have at least these. Of several types of a group the cheapest one is started.

    Args:
        environment: Environment with GPU groups.
        book: Price book.
        pods: Needed number of pods, at least 1.
        spare_pods: Additional pods (1 for N+1).
        survive_node: Whether enough pods must remain after the loss of the node with the most pods.

    Raises:
        CostInputError: The environment has no GPU groups or too few pods, or a type has no price.
    """
    return _nodes(environment, book, _shares(environment, pods, spare_pods, survive_node))


def surcharge(
    environment: Environment,
    name: str,
    books: Mapping[str, Book],
    pods: int,
    *,
    spare_pods: int = 0,
    survive_node: bool = False,
) -> Decimal:
    """Return US dollars per hour that the nodes of `configured` cost more than the prices of a book.

    Groups without spot nodes cost list prices. For books other than `spot`, or without list prices, it is 0.

    Args:
        environment: Environment with GPU groups.
        name: Name of the book.
        books: Price books by name.
        pods: See `configured`.
        spare_pods: See `configured`.
        survive_node: See `configured`.

    Raises:
        CostInputError: As for `configured`.
    """
    if name != "spot" or "list" not in books:
        return Decimal(0)
    listed, spot = books["list"], books["spot"]
    shares = _shares(environment, pods, spare_pods, survive_node)
    no_spot = {
        group.name: 0 if "spot" in environment.capacity_of(group) else shares[group.name]
        for group in environment.workers
    }
    mix = _nodes(environment, listed, no_spot)
    return listed.hour_of(mix) - spot.hour_of(mix)


def _shares(environment: Environment, pods: int, spare_pods: int, survive_node: bool) -> Mapping[str, int]:
    """Return the pods by group for `configured`."""
    if not environment.serving_types:
        raise CostInputError(f"the environment {environment.name!r} has no GPU nodes; set types with --types")
    needed = pods + spare_pods
    total = needed
    while (shares := group_pods(environment, total)) is not None:
        largest = max(
            min(group.pods_per_node, shares[group.name])
            for group in environment.workers
            if shares[group.name]
        )
        if not survive_node or total - largest >= needed:
            return shares
        total += 1
    most = sum(group.max_pods for group in environment.workers)
    raise CostInputError(
        f"{total} pods are needed, and the groups of the environment have at most {most}; raise "
        "workers.*.max_pods, or set types with --types"
    )


def pod_hour(environment: Environment, book: Book) -> Decimal:
    """Return US dollars per hour of a pod, on average over `serve.min_pods` to `serve.max_pods` pods.

    Raises:
        CostInputError: As for `configured`.
    """
    numbers = range(environment.serve.min_pods, environment.serve.max_pods + 1)
    prices = Decimal(0)
    for pods in numbers:
        prices += book.hour_of(configured(environment, book, pods)) / pods
    return prices / len(numbers)


def group_pods(environment: Environment, pods: int) -> Mapping[str, int] | None:
    """Return the number of pods by group, in the order of their start; None if the groups have too few."""
    shares = {group.name: group.min_pods for group in environment.start_order}
    left = pods - sum(shares.values())
    for group in environment.start_order:
        more = max(0, min(left, group.max_pods - group.min_pods))
        shares[group.name] += more
        left -= more
    return None if left > 0 else shares


def _nodes(environment: Environment, book: Book, shares: Mapping[str, int]) -> Mix:
    mix: dict[str, int] = {}
    for group in environment.start_order:
        priced = [kind for kind in group.instance_types if kind in book.types]
        kind = min(priced or group.instance_types[:1], key=lambda name: (book.month(name), name))
        if count := -(-shares[group.name] // group.pods_per_node):
            mix[kind] = mix.get(kind, 0) + count
    return dict(sorted(mix.items()))


def cheapest(
    book: Book, types: Sequence[str], pods: int, *, spare_pods: int = 0, survive_node: bool = False
) -> Mix:
    """Return the cheapest nodes with at least this number of pods; of equal prices, the fewest nodes.

    Args:
        book: Price book.
        types: Instance types to use, each with a price in the book.
        pods: Needed number of pods, at least 1.
        spare_pods: Additional pods (1 for N+1).
        survive_node: Whether enough pods must remain after the loss of the largest node.

    Raises:
        CostInputError: There are no types, or one has no price.
    """
    if not types:
        raise CostInputError("no instance types; set them with --types")
    wanted = pods + spare_pods
    if not survive_node:
        return _cover(book, types, wanted)
    # The largest type of a mix determines the number of pods that one loss removes: try each type as the
    # largest.
    tries = []
    for largest in {INSTANCE_TYPES[kind].gpus for kind in types}:
        allowed = [kind for kind in types if INSTANCE_TYPES[kind].gpus <= largest]
        tries.append(_cover(book, allowed, wanted + largest))
    return min(tries, key=lambda mix: _rank(book, mix))


def _cover(book: Book, types: Sequence[str], pods: int) -> Mix:
    """Compute the cheapest mix for at least n pods by dynamic programming over n = 1 … pods."""
    best: list[Mapping[str, int]] = [{}]
    for needed in range(1, pods + 1):
        choices = []
        for kind in types:
            rest = best[max(0, needed - INSTANCE_TYPES[kind].gpus)]
            choices.append({**rest, kind: rest.get(kind, 0) + 1})
        best.append(min(choices, key=lambda mix: _rank(book, mix)))
    return dict(sorted(best[pods].items()))


def _rank(book: Book, mix: Mix) -> tuple[Decimal, int, tuple[tuple[str, int], ...]]:
    return book.month_of(mix), sum(mix.values()), tuple(sorted(mix.items()))
