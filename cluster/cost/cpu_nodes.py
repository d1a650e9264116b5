"""Cheapest node without a GPU that keeps the SLO with the built-in model, by a measured rate."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from cluster.cost.prices import Book
from cluster.nodes import CPU_TYPES, MIB_PER_GIB, allocatable

SLO_REQUESTS_PER_MINUTE = Decimal(600)
"""Upper end of the promised 480-600 requests per minute, at a p95 of at most 100 ms."""


@dataclass(frozen=True, slots=True)
class MeasuredPod:
    """Rate of a pod without a GPU within the SLO.

    Attributes:
        cpus: CPUs of the pod.
        memory_gib: Memory of the pod in GiB.
        requests_per_minute: Requests of one text per minute, at a p95 of at most 100 ms.
        source: Page with the measurement.
    """

    cpus: int
    memory_gib: int
    requests_per_minute: Decimal
    source: str


BUILTIN_ON_CPU = MeasuredPod(2, 4, Decimal(6000), "docs/benchmarks/serving.md")
"""60 % of the capacity of two cores, at a p95 of 90 ms, with the texts of the benchmark; the pod is that of
the environment `dev`. A node of another speed must be measured: `python -m loadtest slo`."""


def cheapest_cpu_node(book: Book, pod: MeasuredPod = BUILTIN_ON_CPU) -> str | None:
    """Return the cheapest node of a book on which the pod fits next to the daemons; None if there is none."""
    fitting = [name for name in book.cpu_hourly if _fits(name, pod)]
    return min(fitting, key=lambda name: (book.cpu_hourly[name], name), default=None)


def verdict(books: Mapping[str, Book], pod: MeasuredPod = BUILTIN_ON_CPU) -> str:
    """Return the cheapest node that keeps the SLO by the measured rate, next to the user's own figures.

    Args:
        books: Price books by name, of which `document` is the user's and `list` has the list prices.
        pod: Measured rate; it must be at least that of the SLO.
    """
    listed = books["list"]
    if not listed.cpu_hourly:
        return "the price book `list` has no prices of nodes without a GPU (cpu_hourly)"
    name = cheapest_cpu_node(listed, pod)
    if name is None or pod.requests_per_minute < SLO_REQUESTS_PER_MINUTE:
        return f"no node without a GPU keeps {SLO_REQUESTS_PER_MINUTE} requests/min by the measured rate"
    month = listed.cpu_hourly[name] * listed.month_hours
    lines = [
        f"cheapest node that keeps the promise ({SLO_REQUESTS_PER_MINUTE} requests/min a pod, p95 <= 100 ms) "
        "with the built-in model:",
        f"  {name}, no GPU: ${month:,.2f} a month (list); measured {pod.requests_per_minute:,.0f} "
        f"requests/min on {pod.cpus} CPUs ({pod.source})",
    ]
    for kind in books["document"].types if "document" in books else ():
        theirs = books["document"].month(kind)
        lines.append(
            f"  the user's document: {kind}, ${theirs:,.2f} a month, {theirs / month:,.1f} times as much; "
            + (f"list: ${listed.month(kind):,.2f}" if kind in listed.types else "no list price")
        )
    too_small = [one for one in listed.cpu_hourly if not _fits(one, pod)]
    if too_small:
        size = f"{pod.cpus} CPUs and {pod.memory_gib} GiB next to the daemons"
        lines.append(f"  too small for {size}: {', '.join(too_small)}")
    lines.append("  a larger model, or texts near its full length, needs its own load test: --report")
    return "\n".join(lines)


def _fits(name: str, pod: MeasuredPod) -> bool:
    millicores, mib = allocatable(CPU_TYPES[name])
    return millicores >= 1000 * pod.cpus and mib >= MIB_PER_GIB * pod.memory_gib
