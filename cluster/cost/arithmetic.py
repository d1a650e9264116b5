"""Cost and throughput of a set of nodes, in exact decimals."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from cluster.cost.prices import Book
from cluster.nodes import INSTANCE_TYPES

SECONDS_PER_HOUR = 3600
MILLION = 1_000_000
Mix = Mapping[str, int]
"""Number of nodes by instance type."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Throughput of one pod within the SLO.

    Attributes:
        requests_per_minute: Requests per minute of a pod.
        tokens_per_s: Tokens per second of a pod.
        measured_by: Source of the figures.
    """

    requests_per_minute: Decimal
    tokens_per_s: Decimal
    measured_by: str


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost and throughput of a mix of nodes.

    Attributes:
        book: Name of the price book.
        order: What determines the mix: the name of an environment, `cheapest`, or `one node`.
        mix: Number of nodes by type.
        pods: Number of pods, one per GPU.
        month: US dollars per month.
        hour: US dollars per hour.
        requests_per_minute: Requests per minute of all pods.
        tokens_per_s: Tokens per second of all pods.
        per_million_tokens: US dollars per million tokens at full load; an idle cluster costs the same.
        per_million_requests: US dollars per million requests at full load.
    """

    book: str
    order: str
    mix: Mix
    pods: int
    month: Decimal
    hour: Decimal
    requests_per_minute: Decimal
    tokens_per_s: Decimal
    per_million_tokens: Decimal
    per_million_requests: Decimal


def cost(
    name: str,
    book: Book,
    mix: Mix,
    rate: Rate,
    order: str = "one node",
    surcharge_hour: Decimal = Decimal(0),
) -> Cost:
    """Compute the cost of a mix of nodes with the prices of a book.

    Args:
        name: Name of the book.
        book: Price book.
        mix: At least one node.
        rate: Throughput of each pod.
        order: What determines the mix.
        surcharge_hour: US dollars per hour that nodes without the prices of the book cost more.

    Raises:
        CostInputError: A type has no price in the book.
    """
    pods = sum(INSTANCE_TYPES[kind].gpus * count for kind, count in mix.items())
    month = book.month_of(mix) + surcharge_hour * book.month_hours
    hour = book.hour_of(mix) + surcharge_hour
    tokens_per_s, requests_per_minute = rate.tokens_per_s * pods, rate.requests_per_minute * pods
    return Cost(
        book=name,
        order=order,
        mix=dict(mix),
        pods=pods,
        month=month,
        hour=hour,
        requests_per_minute=requests_per_minute,
        tokens_per_s=tokens_per_s,
        per_million_tokens=hour * MILLION / (tokens_per_s * SECONDS_PER_HOUR),
        per_million_requests=hour * MILLION / (requests_per_minute * 60),
    )
