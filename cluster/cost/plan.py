"""Cheapest mix of nodes for a request rate: an exact search over node types with their pods and prices."""

from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, Decimal

from cluster.cost.arithmetic import Mix, Rate
from cluster.cost.prices import Book
from cluster.errors import CostInputError
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
    price = sum((book.month(kind) * count for kind, count in mix.items()), Decimal(0))
    return price, sum(mix.values()), tuple(sorted(mix.items()))
