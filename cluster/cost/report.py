"""Cost report as a table, as JSON, and as a plot."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path

from cluster.cost.arithmetic import Cost, Mix, Rate, cost
from cluster.cost.plan import cheapest, pods_for
from cluster.cost.prices import Book
from cluster.nodes import INSTANCE_TYPES

_PLOT_POINTS = 400


def table(costs: Sequence[Cost], books: Mapping[str, Book], rate: Rate) -> str:
    """Return a table with one line per cost, and the sources of the prices.

    Args:
        costs: At least one cost.
        books: Price books by the names in the costs.
        rate: Throughput of a pod.
    """
    header = (
        f"{'prices':<10}{'order':<10}{'nodes':<34}{'pods':>5}{'requests/min':>14}{'tokens/s':>10}{'$/hour':>10}"
        f"{'$/month':>11}{'$/M tokens':>12}{'$/M requests':>14}"
    )
    rows = [
        f"{one.book:<10}{one.order:<10}{mix_text(one.mix):<34}{one.pods:>5}{one.requests_per_minute:>14,.0f}"
        f"{one.tokens_per_s:>10,.0f}{one.hour:>10,.3f}{one.month:>11,.2f}{one.per_million_tokens:>12.4f}"
        f"{one.per_million_requests:>14.2f}"
        for one in costs
    ]
    used = dict.fromkeys(one.book for one in costs)
    sources = [
        f"  {name}: {books[name].title}, {books[name].dated}, a month of {books[name].month_hours} h; "
        f"{books[name].source}"
        for name in used
    ]
    pod = (
        f"a pod: {rate.requests_per_minute:,.1f} requests/min, {rate.tokens_per_s:,.1f} tokens/s "
        f"({rate.tokens_per_s * 60 / rate.requests_per_minute:,.0f} tokens per request); {rate.measured_by}"
    )
    full = "$/M: at full load; idle nodes cost the same. The table has GPU nodes only."
    return "\n".join([pod, "", header, *rows, "", *sources, f"  {full}"])


def differences(books: Mapping[str, Book], rate: Rate) -> str:
    """Return the differences between list prices and the document's, by instance type."""
    document, listed = books["document"], books["list"]
    lines = []
    for kind in document.types:
        if kind not in listed.types:
            continue
        then, now = cost("document", document, {kind: 1}, rate), cost("list", listed, {kind: 1}, rate)
        lines.append(
            f"  {kind}: ${then.month:,.2f} in the document, ${now.month:,.2f} listed "
            f"({now.month / then.month - 1:+.1%}); per million tokens ${then.per_million_tokens:.4f} and "
            f"${now.per_million_tokens:.4f}"
        )
    return "\n".join(["prices of the document and list prices:", *lines])


def document(costs: Sequence[Cost], books: Mapping[str, Book], rate: Rate) -> dict[str, object]:
    """Return the report as a JSON object, with money and rates as numbers."""
    return {
        "pod": {
            "requests_per_minute": float(rate.requests_per_minute),
            "tokens_per_s": float(rate.tokens_per_s),
            "measured_by": rate.measured_by,
        },
        "costs": [
            {
                "book": one.book,
                "order": one.order,
                "nodes": dict(one.mix),
                "pods": one.pods,
                "requests_per_minute": float(one.requests_per_minute),
                "tokens_per_s": float(one.tokens_per_s),
                "usd_per_hour": float(one.hour),
                "usd_per_month": float(one.month),
                "usd_per_million_tokens": float(one.per_million_tokens),
                "usd_per_million_requests": float(one.per_million_requests),
            }
            for one in costs
        ],
        "books": {
            name: {
                "title": book.title,
                "dated": book.dated.isoformat(),
                "source": book.source,
                "month_hours": book.month_hours,
            }
            for name, book in books.items()
        },
    }


def plot(
    path: Path, name: str, book: Book, types: Sequence[str], rate: Rate, *, max_per_minute: Decimal
) -> None:
    """Plot US dollars per month over the request rate, for each instance type and for the cheapest mix.

    Args:
        path: PNG file to write.
        name: Name of the book.
        book: Price book.
        types: Instance types, each with a price in the book.
        rate: Throughput of a pod.
        max_per_minute: Right end of the axis, in requests per minute.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    max_pods = pods_for(max_per_minute, rate)
    step = max(1, max_pods // _PLOT_POINTS)
    pods = list(range(1, max_pods + 1, step))
    # The step of n pods reaches from the rate of n - 1 pods to that of n pods; the first one begins at 0.
    requests = [0.0, *(float(rate.requests_per_minute) * count for count in pods)]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for kind in types:
        nodes = [-(-count // INSTANCE_TYPES[kind].gpus) for count in (pods[0], *pods)]
        axes.step(
            requests, [float(book.month(kind)) * count for count in nodes], where="pre", label=f"only {kind}"
        )
    mixes = [cheapest(book, types, count) for count in (pods[0], *pods)]
    prices = [float(cost(name, book, mix, rate).month) for mix in mixes]
    axes.step(requests, prices, where="pre", label="cheapest mix", color="black", linewidth=2, linestyle="--")
    axes.set(
        xlabel=f"requests per minute ({rate.requests_per_minute:,.0f} per pod)",
        ylabel="US dollars per month",
        title=f"{book.title}, {book.dated}",
        xlim=(0, None),
        ylim=(0, None),
    )
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


def mix_text(mix: Mix) -> str:
    """Return the mix as text, such as `2 x g5.12xlarge + 1 x g5.4xlarge`."""
    return " + ".join(f"{count} x {kind}" for kind, count in mix.items())
