"""Command `cost`: cost per month and per million tokens, and the cheapest nodes for a request rate."""

import argparse
import json
from decimal import Decimal, InvalidOperation
from pathlib import Path

from cluster.cli.environment import add_environment, selected_environment

_HELP = """\
Without --wanted: cost and throughput of one node of each type, with the prices of the user's document and
with list prices, and their differences. With --wanted: the nodes for this number of requests per minute, as
the environment starts them (workers.*.priority), and the cheapest ones; with --types the cheapest ones of
these types.

The throughput of a pod is the document's (480-600 requests per minute; 10,000 tokens per second on four
pods). --report uses a measured one instead, from the output of `python -m loadtest slo --json FILE`.
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
"""From the user's document: lower end of 480-600 requests per minute and pod; 10,000 tokens per second on
four pods."""
_TYPES = ("g5.12xlarge", "g5.4xlarge")
"""From the user's document; the manifests are sized for these types."""


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser."""
    parser = verbs.add_parser(
        "cost",
        help="estimate the cost, and the cheapest nodes for a request rate",
        description=_HELP,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    pod = parser.add_argument_group("a pod")
    pod.add_argument(
        "--per-pod", type=_number, metavar="N", help=f"requests per minute of a pod (default: {_PER_MINUTE})"
    )
    pod.add_argument(
        "--tokens-per-s",
        type=_number,
        metavar="N",
        help=f"tokens per second of a pod (default: {_TOKENS_PER_S})",
    )
    pod.add_argument("--report", type=Path, metavar="FILE", help="load-test report (JSON) with both rates")
    nodes = parser.add_argument_group("nodes")
    nodes.add_argument("--wanted", type=_number, metavar="N", help="total number of requests per minute")
    nodes.add_argument(
        "--spare-pods", type=int, default=0, metavar="N", help="number of additional pods (default: 0)"
    )
    nodes.add_argument(
        "--survive-node",
        action="store_true",
        help="enough pods for the rate after the loss of the largest node",
    )
    nodes.add_argument(
        "--types",
        nargs="+",
        metavar="TYPE",
        help=f"instance types instead of an environment's (default without --wanted: {' '.join(_TYPES)})",
    )
    add_environment(parser, default="prod")
    parser.add_argument("--book", metavar="NAME", help="price book to use (default: all)")
    parser.add_argument(
        "--prices", type=Path, metavar="FILE", help="TOML file with price books (default: the included one)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="JSON file to write")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="PNG file to write: price over request rate"
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from cluster.cost.arithmetic import Rate, cost
    from cluster.cost.cpu_nodes import verdict
    from cluster.cost.measured import measured_rate
    from cluster.cost.plan import cheapest, configured, pods_for, surcharge
    from cluster.cost.prices import PRICES, read_books
    from cluster.cost.report import differences, document, plot, table
    from cluster.errors import CostInputError

    if args.report and (args.per_pod or args.tokens_per_s):
        raise CostInputError("--report holds the rates of a pod; omit --per-pod and --tokens-per-s")
    if args.spare_pods < 0:
        raise CostInputError(f"--spare-pods {args.spare_pods}: expected 0 or more")
    if args.report:
        rate = measured_rate(args.report)
    else:
        given = args.per_pod or args.tokens_per_s
        rate = Rate(
            args.per_pod or _PER_MINUTE,
            args.tokens_per_s or _TOKENS_PER_S,
            "command line" if given else "the user's document",
        )
    every = read_books(args.prices or PRICES)
    if args.book and args.book not in every:
        raise CostInputError(f"--book {args.book}: expected one of {', '.join(every)}")
    books = {name: book for name, book in every.items() if args.book in (None, name)}
    environment = None if args.types or args.wanted is None else selected_environment(args)
    types = args.types or (environment.serving_types if environment else _TYPES)
    costs = []
    for name, book in books.items():
        priced = [kind for kind in types if kind in book.types]
        if args.wanted is None:
            costs += [cost(name, book, {kind: 1}, rate) for kind in priced]
            continue
        pods = pods_for(args.wanted, rate)
        needs = {"spare_pods": args.spare_pods, "survive_node": args.survive_node}
        if environment and (
            not environment.serving_types
            or all(set(group.instance_types) & set(priced) for group in environment.workers)
        ):
            mix = configured(environment, book, pods, **needs)
            more = surcharge(environment, name, every, pods, **needs)
            costs.append(cost(name, book, mix, rate, Path(args.env).stem, more))
        if priced:
            costs.append(cost(name, book, cheapest(book, priced, pods, **needs), rate, "cheapest"))
    if not costs:
        raise CostInputError(f"no price for {', '.join(types)} in {', '.join(books)}")
    print(table(costs, books, rate))
    if "list" in books:
        print(f"\n{verdict(books)}")
    if args.wanted is None and {"document", "list"} <= books.keys():
        print(f"\n{differences(books, rate)}")
    if args.json:
        args.json.write_text(json.dumps(document(costs, books, rate), indent=2) + "\n", encoding="utf-8")
    if args.plot:
        name = costs[-1].book
        book, types = books[name], [kind for kind in types if kind in books[name].types]
        most = 2 * (args.wanted or 10 * rate.requests_per_minute)
        plot(args.plot, name, book, types, rate, max_per_minute=most)
    return 0


def _number(text: str) -> Decimal:
    """Parse a positive number."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not value.is_finite() or value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} must be more than 0")
    return value
