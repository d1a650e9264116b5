"""`make bench-peers`: this service and other ways to serve the same model, in interleaved rounds.

Each peer is a small server in an environment of its own (build/peers). A peer that cannot be installed or
started is reported with its reason, and the run continues. All servers are started once; in each round every
peer has a turn for each number of connections, and meanwhile all others are stopped (SIGSTOP). Progress goes
to stderr, the Markdown tables to stdout.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.peers import answers, table
from benchmarks.peers.catalog import OURS, PEERS, PeerSpec
from benchmarks.peers.environments import ROOT, PeerError, export, needs_onnx, prepare
from benchmarks.peers.rounds import LoadCase, Measurement, measure, turns
from benchmarks.peers.server import PeerServer, start
from benchmarks.texts import KINDS, of_kind
from tests.labelled import labelled_texts

_log = logging.getLogger("benchmarks.peers")
_WARM_UP_CONNECTIONS, _WARM_UP_S = 8, 2.0


def main() -> int:
    """Run the comparison, and print its tables; return 0 regardless of the results."""
    args = _parser().parse_args()
    signal.signal(signal.SIGTERM, _stop)
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(message)s", level=logging.INFO)
    data = args.data or labelled_texts()
    texts = {kind: of_kind(kind, args.text_count, data)[0] for kind in args.texts}
    asked = of_kind("mixed", args.answers, data)[0]
    cases = [LoadCase(kind, connections) for kind in args.texts for connections in args.connections]
    results: dict[LoadCase, dict[str, list[Measurement]]] = {case: {} for case in cases}
    agreements: dict[str, answers.Agreement] = {}
    not_run: dict[str, str] = {}
    with ExitStack() as stack:
        servers: dict[str, PeerServer] = {}
        for peer in PEERS:
            if peer.name in args.peers:
                try:
                    servers[peer.name] = _started(peer, args.folder, asked[0], stack)
                except PeerError as error:
                    _log.warning("%s: %s", peer.name, error)
                    not_run[peer.name] = str(error)
        expected = answers.reference(asked)
        for number in range(args.rounds if servers else 0):
            if args.confirm:
                _log.info("round %d of %d: waiting for a line on stdin", number + 1, args.rounds)
                sys.stdin.readline()
            if not number:
                for name, server in servers.items():
                    agreements[name] = answers.compare(answers.ask(server, asked), expected)
                    measure(server, texts[args.texts[0]], _WARM_UP_CONNECTIONS, _WARM_UP_S)
            for turn in turns(list(servers), cases, number):
                measured = measure(
                    servers[turn.peer], texts[turn.case.texts], turn.case.connections, args.seconds
                )
                results[turn.case].setdefault(turn.peer, []).append(measured)
                _log.info("round %d, %s: %s", number + 1, turn, measured)
        _print(results, agreements, not_run, list(servers))
        _log.info("stopping the servers")
    return 0


def _parser() -> argparse.ArgumentParser:
    names = [peer.name for peer in PEERS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description=__doc__,
        epilog="\n".join(f"{peer.name:20} {peer.description}" for peer in PEERS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--peers", nargs="+", choices=names, default=names, metavar="PEER", help="peers (default: all, below)"
    )
    parser.add_argument(
        "--texts", nargs="+", choices=KINDS, default=["mixed"], help="kinds of texts (default: mixed)"
    )
    parser.add_argument(
        "--connections",
        nargs="+",
        type=int,
        default=[1, 8, 32, 128],
        metavar="N",
        help="numbers of connections (default: 1 8 32 128)",
    )
    parser.add_argument("--rounds", type=int, default=3, metavar="ROUNDS", help="rounds (default: 3)")
    parser.add_argument(
        "--seconds", type=float, default=5, metavar="S", help="seconds a turn, above 1 (default: 5)"
    )
    parser.add_argument(
        "--text-count", type=int, default=600, metavar="N", help="texts of each kind (default: 600)"
    )
    parser.add_argument(
        "--answers", type=int, default=100, metavar="N", help="answers compared with float32 (default: 100)"
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of labelled texts (DATA_DIR)")
    parser.add_argument(
        "--folder",
        type=Path,
        default=ROOT / "build/peers",
        metavar="DIR",
        help="folder of environments, models and logs (default: build/peers)",
    )
    parser.add_argument(
        "--confirm",
        action="store_true",
        help="wait for a line on stdin before each round, for example until the machine is idle",
    )
    return parser


def _stop(*_: Any) -> None:
    raise SystemExit(1)  # the servers are ended on the way


def _started(peer: PeerSpec, folder: Path, text: str, stack: ExitStack) -> PeerServer:
    """Return the running server of a peer, which the stack ends."""
    _log.info("starting %s", peer.name)
    folder.mkdir(parents=True, exist_ok=True)
    python = prepare(peer, folder)
    model = export(folder, python, onnx=needs_onnx(peer))
    server = start(peer, python, model, folder, text)
    stack.callback(server.end)
    with server.turn():
        pass  # stopped from here on
    return server


def _print(
    results: Mapping[LoadCase, Mapping[str, list[Measurement]]],
    agreements: Mapping[str, answers.Agreement],
    not_run: Mapping[str, str],
    order: list[str],
) -> None:
    ordered = {
        case: {name: by_peer[name] for name in order if name in by_peer} for case, by_peer in results.items()
    }
    base = OURS if OURS in order else order[0] if order else OURS
    for line in (*table.speed(ordered, base), *table.agreement(agreements, not_run)):
        print(line, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
