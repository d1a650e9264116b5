"""Order of the turns, and the measurement of one turn."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import uvloop

from benchmarks.load import closed_loop
from benchmarks.peers.server import PeerServer

_GRACE_S = 60.0
"""Time after a turn in which the last requests must be answered."""


@dataclass(frozen=True)
class LoadCase:
    """Column of the comparison: kind of text and number of connections."""

    texts: str
    connections: int


@dataclass(frozen=True)
class Turn:
    """One peer's turn in a round."""

    case: LoadCase
    peer: str


@dataclass(frozen=True)
class Measurement:
    """Result of a turn; latencies are None if no request was answered."""

    rate: float
    p50_ms: float | None
    p99_ms: float | None
    failures: int
    rss_mb: float
    cpu_ms: float | None
    """CPU time of all processes of the server per answered request."""


def turns(peers: Sequence[str], cases: Sequence[LoadCase], number: int) -> Iterator[Turn]:
    """Return the turns of a round: for each case every peer, each round beginning with another peer.

    Peers that are compared with each other thus run within the same minute, and none is always first.
    """
    first = number % len(peers)
    for case in cases:
        for peer in (*peers[first:], *peers[:first]):
            yield Turn(case, peer)


def measure(server: PeerServer, texts: Sequence[str], connections: int, seconds: float) -> Measurement:
    """Run a closed loop on a server, whose processes run only meanwhile.

    A server that closes connections or does not answer in time has no rate and one failure per connection.
    """
    with server.turn():
        before_s = server.cpu_s
        loop = closed_loop(server.url, texts, connections=connections, seconds=seconds, ask=server.ask)
        try:
            outcome = uvloop.run(asyncio.wait_for(loop, seconds + _GRACE_S))
        except (OSError, TimeoutError):
            return Measurement(0.0, None, None, connections, server.rss_mb, None)
        answered, cpu_s = outcome.statuses[200], server.cpu_s - before_s
        p50_ms, p99_ms = (1000 * outcome.latency_s(q) if answered else None for q in (0.5, 0.99))
        cpu_ms = 1000 * cpu_s / answered if answered else None
        return Measurement(outcome.rate, p50_ms, p99_ms, outcome.failures, server.rss_mb, cpu_ms)
