"""`cost`: what pods and tokens cost a month, and the cheapest nodes for a wanted rate."""

import argparse
import json
from decimal import Decimal, InvalidOperation
from pathlib import Path

_HELP = """\
Without --wanted: what one node of each type costs and carries, by the user's document and by today's list
prices, and how the two differ. With --wanted: the cheapest nodes that carry so many requests a minute.

A pod's rate is the document's (480-600 requests a minute, 10,000 tokens a second on four pods) unless a load
test says better: --report reads what `python -m loadtest slo --json FILE` wrote.
"""
_EXAMPLE = """\
examples:
  python -m cluster cost
  python -m cluster cost --wanted 5000
  python -m cluster cost --wanted 5000 --survive-node --book list --plot cost.png --json cost.json
  python -m cluster cost --report slo.json --wanted 5000
"""
_PER_MINUTE = Decimal(480)
_TOKENS_PER_S = Decimal(2500)
"""The document's: the lower end of 480-600 requests a minute a pod; 10,000 tokens a second on four pods."""
_TYPES = ("g5.12xlarge", "g5.4xlarge")
"""The document's: the manifests are sized for them."""


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The verb's parser."""
    parser = verbs.add_parser(
        "cost",
        help="what it costs, and the cheapest nodes for a wanted rate",
        description=_HELP,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    pod = parser.add_argument_group("a pod")
    pod.add_argument("--per-pod", type=_number, metavar="N", help=f"requests a minute ({_PER_MINUTE})")
    pod.add_argument("--tokens-per-s", type=_number, metavar="N", help=f"tokens a second ({_TOKENS_PER_S})")
    pod.add_argument("--report", type=Path, metavar="FILE", help="a load test's, instead of the two")
    nodes = parser.add_argument_group("nodes")
    nodes.add_argument("--wanted", type=_number, metavar="N", help="requests a minute in all")
    nodes.add_argument("--spare-pods", type=int, default=0, metavar="N", help="beyond what is needed (0)")
    nodes.add_argument(
        "--survive-node", action="store_true", help="enough pods are left when the largest node is lost"
    )
    nodes.add_argument(
        "--types", nargs="+", default=list(_TYPES), metavar="TYPE", help=f"({' '.join(_TYPES)})"
    )
    parser.add_argument("--book", metavar="NAME", help="only this price book (default: all)")
    parser.add_argument("--prices", type=Path, metavar="FILE", help="price books of yours, instead of ours")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw price over rate here (PNG)")
    parser.set_defaults(run=_run)


def _run(chosen: argparse.Namespace) -> int:
    from cluster.cost.arithmetic import Rate, cost
    from cluster.cost.measured import measured_rate
    from cluster.cost.plan import cheapest, pods_for
    from cluster.cost.prices import PRICES, read_books
    from cluster.cost.report import differences, document, plot, table
    from cluster.errors import PricesInvalid

    if chosen.report and (chosen.per_pod or chosen.tokens_per_s):
        raise PricesInvalid("--report says what a pod carries; leave --per-pod and --tokens-per-s out")
    if chosen.spare_pods < 0:
        raise PricesInvalid(f"--spare-pods {chosen.spare_pods}: must not be negative")
    if chosen.report:
        rate = measured_rate(chosen.report)
    else:
        told = chosen.per_pod or chosen.tokens_per_s
        rate = Rate(
            chosen.per_pod or _PER_MINUTE,
            chosen.tokens_per_s or _TOKENS_PER_S,
            "as told" if told else "the user's document",
        )
    every = read_books(chosen.prices or PRICES)
    if chosen.book and chosen.book not in every:
        raise PricesInvalid(f"--book {chosen.book}: there are {', '.join(every)}")
    books = {name: book for name, book in every.items() if chosen.book in (None, name)}
    costs = []
    for name, book in books.items():
        types = [kind for kind in chosen.types if kind in book.types]
        if chosen.wanted is None:
            costs += [cost(name, book, {kind: 1}, rate) for kind in types]
        elif types:
            pods = pods_for(chosen.wanted, rate)
            mix = cheapest(book, types, pods, spare_pods=chosen.spare_pods, survive_node=chosen.survive_node)
            costs.append(cost(name, book, mix, rate))
    if not costs:
        raise PricesInvalid(f"no price for {', '.join(chosen.types)} in {', '.join(books)}")
    print(table(costs, books, rate))
    if chosen.wanted is None and {"document", "list"} <= books.keys():
        print(f"\n{differences(books, rate)}")
    if chosen.json:
        chosen.json.write_text(json.dumps(document(costs, books, rate), indent=2) + "\n", encoding="utf-8")
    if chosen.plot:
        name = costs[-1].book
        book, types = books[name], [kind for kind in chosen.types if kind in books[name].types]
        most = 2 * (chosen.wanted or 10 * rate.requests_per_minute)
        plot(chosen.plot, name, book, types, rate, most_per_minute=most)
    return 0


def _number(text: str) -> Decimal:
    """A positive number."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not value.is_finite() or value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} must be more than 0")
    return value
