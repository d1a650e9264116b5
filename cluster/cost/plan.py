"""The cheapest mix of nodes for a wanted rate: an exact search over nodes that differ in pods and price."""

from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, Decimal

from cluster.cost.arithmetic import Mix, Rate
from cluster.cost.prices import Book
from cluster.errors import PricesInvalid
from cluster.nodes import INSTANCE_TYPES

MOST_PODS = 10_000


def pods_for(requests_per_minute: Decimal, rate: Rate) -> int:
    """Pods that a wanted rate needs.

    Raises:
        PricesInvalid: the rate is not positive, or needs more than `MOST_PODS`.
    """
    if not requests_per_minute > 0:
        raise PricesInvalid(f"a wanted rate must be more than 0 requests a minute, got {requests_per_minute}")
    pods = int((requests_per_minute / rate.requests_per_minute).to_integral_value(ROUND_CEILING))
    if pods > MOST_PODS:
        raise PricesInvalid(f"{requests_per_minute} requests a minute need {pods} pods; at most {MOST_PODS}")
    return pods


def cheapest(
    book: Book, types: Sequence[str], pods: int, *, spare_pods: int = 0, survive_node: bool = False
) -> Mix:
    """The cheapest nodes with at least so many pods; among equally cheap mixes the one with the fewest nodes.

    Args:
        book: prices.
        types: instance types to choose from, each with a price in the book.
        pods: needed, at least 1.
        spare_pods: more than are needed (N+1 is 1).
        survive_node: whether the pods needed must be left when the largest node is lost.

    Raises:
        PricesInvalid: no types, or one without a price.
    """
    if not types:
        raise PricesInvalid("no instance types to choose from; name some with --types")
    wanted = pods + spare_pods
    if not survive_node:
        return _cover(book, types, wanted)
    # The largest type that a mix uses decides how much one loss takes: try each as the largest.
    tries = []
    for largest in {INSTANCE_TYPES[kind].gpus for kind in types}:
        allowed = [kind for kind in types if INSTANCE_TYPES[kind].gpus <= largest]
        tries.append(_cover(book, allowed, wanted + largest))
    return min(tries, key=lambda mix: _rank(book, mix))


def _cover(book: Book, types: Sequence[str], pods: int) -> Mix:
    """Dynamic programming over pods: the cheapest way to hold at least n, for n = 1 … pods."""
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
