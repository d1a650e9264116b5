"""What a set of nodes costs and carries: pure arithmetic, in exact decimals."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from cluster.cost.prices import Book
from cluster.nodes import INSTANCE_TYPES

SECONDS_PER_HOUR = 3600
MILLION = 1_000_000
Mix = Mapping[str, int]
"""Instance type -> nodes of it."""


@dataclass(frozen=True, slots=True)
class Rate:
    """What one pod carries while it keeps its promise.

    Attributes:
        requests_per_minute: a pod.
        tokens_per_s: a pod.
        measured_by: where the figures are from.
    """

    requests_per_minute: Decimal
    tokens_per_s: Decimal
    measured_by: str


@dataclass(frozen=True, slots=True)
class Cost:
    """What a mix costs and carries.

    Attributes:
        book: name of the price book.
        mix: nodes by type.
        pods: one a GPU.
        month: dollars a month.
        hour: dollars an hour.
        requests_per_minute: of all pods.
        tokens_per_s: of all pods.
        per_million_tokens: dollars, if every hour is full; an idle cluster costs the same.
        per_million_requests: dollars, under the same condition.
    """

    book: str
    mix: Mix
    pods: int
    month: Decimal
    hour: Decimal
    requests_per_minute: Decimal
    tokens_per_s: Decimal
    per_million_tokens: Decimal
    per_million_requests: Decimal


def cost(name: str, book: Book, mix: Mix, rate: Rate) -> Cost:
    """What a mix of nodes costs in a book.

    Args:
        name: of the book.
        book: prices.
        mix: at least one node.
        rate: of each pod.

    Raises:
        PricesInvalid: a type has no price in the book.
    """
    pods = sum(INSTANCE_TYPES[kind].gpus * count for kind, count in mix.items())
    month = sum((book.month(kind) * count for kind, count in mix.items()), Decimal(0))
    hour = sum((book.hour(kind) * count for kind, count in mix.items()), Decimal(0))
    tokens_per_s, requests_per_minute = rate.tokens_per_s * pods, rate.requests_per_minute * pods
    return Cost(
        book=name,
        mix=dict(mix),
        pods=pods,
        month=month,
        hour=hour,
        requests_per_minute=requests_per_minute,
        tokens_per_s=tokens_per_s,
        per_million_tokens=hour * MILLION / (tokens_per_s * SECONDS_PER_HOUR),
        per_million_requests=hour * MILLION / (requests_per_minute * 60),
    )
