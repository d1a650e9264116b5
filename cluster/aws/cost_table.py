"""Cost table per month: Terraform's resources, use, and GPU nodes for the fewest and the most pods."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from cluster.aws.estimate import Line, Prices, load_balancer_line, usage_lines
from cluster.cost.plan import configured, surcharge
from cluster.cost.prices import Book
from cluster.cost.report import mix_text
from cluster.kuberay.settings import Environment


def bill(
    lines: Sequence[Line],
    prices: Prices,
    environment: Environment,
    book: Book,
    others: Mapping[str, Book] | None = None,
) -> str:
    """Return the cost table with its sums.

    Args:
        lines: Cost lines from `estimate`.
        prices: Price list of the lines.
        environment: Environment whose pods are counted.
        book: Price book of GPU nodes.
        others: Further price books of the same nodes by name, such as spot.

    Raises:
        CostInputError: A GPU node has no price.
    """
    used = [*([load_balancer_line(prices)] if environment.ingress else []), *usage_lines(prices)]
    made = sum((line.month for line in lines), Decimal(0))
    standing = made + sum((line.month for line in used), Decimal(0))
    rows = [f"  {line.what:<44}{line.count:>6}{line.month:>12,.2f}" for line in lines]
    text = [
        f"{'dollars a month, list prices':<46}{'count':>6}{'$':>12}",
        *rows,
        f"  {'resources of Terraform':<50}{made:>12,.2f}",
        *(f"  {line.what:<50}{line.month:>12,.2f}" for line in used),
    ]
    if environment.serving_types:
        books = {"list": book, **(others or {})}
        for limit, pods in (("minimum", environment.serve.min_pods), ("maximum", environment.serve.max_pods)):
            mix = configured(environment, book, pods)
            nodes = book.month_of(mix)
            text.append(f"  {f'{limit} pods ({pods}): {mix_text(mix)}':<50}{nodes:>12,.2f}")
            text.append(f"  {f'total with {limit} pods':<50}{standing + nodes:>12,.2f}")
            for name, other in (others or {}).items():
                cheaper = other.month_of(mix)
                cheaper += surcharge(environment, name, books, pods) * other.month_hours
                text.append(f"  {f'the same with {name} prices':<50}{standing + cheaper:>12,.2f}")
    text += [
        f"  {prices.title}, {prices.dated}; GPU nodes: {book.title}, {book.dated}, on demand, full hours.",
        *(f"  {name}: {other.title}" for name, other in (others or {}).items()),
        "  Amounts of use are assumed. Not included: builds, requests, other traffic, training runs, tax.",
    ]
    return "\n".join(text)
