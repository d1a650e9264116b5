"""Cost table per month: Terraform's resources, and GPU nodes for the minimum and maximum number of pods."""

from collections.abc import Sequence
from decimal import Decimal

from cluster.aws.estimate import Line, Prices
from cluster.cost.plan import configured
from cluster.cost.prices import Book
from cluster.cost.report import mix_text
from cluster.kuberay.settings import Environment


def bill(lines: Sequence[Line], prices: Prices, environment: Environment, book: Book) -> str:
    """Return the cost table with its sums.

    Args:
        lines: Cost lines from `estimate`.
        prices: Price list of the lines.
        environment: Environment whose pods are counted.
        book: Price book of GPU nodes.

    Raises:
        CostInputError: A GPU node has no price.
    """
    standing = sum((line.month for line in lines), Decimal(0))
    rows = [f"  {line.what:<44}{line.count:>6}{line.month:>12,.2f}" for line in lines]
    text = [
        f"{'dollars a month, list prices':<46}{'count':>6}{'$':>12}",
        *rows,
        f"  {'what Terraform makes':<50}{standing:>12,.2f}",
    ]
    if environment.serving_types:
        for least, pods in (("fewest", environment.serve.min_pods), ("most", environment.serve.max_pods)):
            mix = configured(environment, book, pods)
            nodes = sum((book.month(kind) * count for kind, count in mix.items()), Decimal(0))
            text.append(f"  {f'{least} pods ({pods}): {mix_text(mix)}':<50}{nodes:>12,.2f}")
            text.append(f"  {f'altogether with the {least} pods':<50}{standing + nodes:>12,.2f}")
    text += [
        f"  {prices.title}, {prices.dated}; GPU nodes: {book.title}, {book.dated}, on demand, full hours.",
        "  Not in it: storage, traffic, logs, build minutes, requests, training runs, tax.",
    ]
    return "\n".join(text)
