"""Results as Markdown tables: medians over the rounds, and the range of the rates."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence

from benchmarks.peers.answers import Agreement
from benchmarks.peers.rounds import LoadCase, Measurement

Results = Mapping[LoadCase, Mapping[str, Sequence[Measurement]]]
"""Measurements by case and peer, in the order of the rounds."""


def speed(results: Results, base: str) -> Iterator[str]:
    """Return the lines of one table per case.

    Args:
        results: Measurements; each peer of a case has the same number.
        base: Peer whose rate is divided by that of the others, round by round.
    """
    for case, by_peer in results.items():
        yield f"{case.texts} texts, {case.connections} connections"
        yield ""
        yield f"| peer | requests/s (range) | {base} over it | p50 ms | p99 ms | failures | RSS MB | CPU ms |"
        yield "|---|---|---|---|---|---|---|---|"
        for peer, measured in by_peer.items():
            yield _row(peer, measured, by_peer.get(base, ()))
        yield ""


def agreement(answers: Mapping[str, Agreement], not_run: Mapping[str, str]) -> Iterator[str]:
    """Return the lines of the table of answers; a peer that did not run has its reason."""
    yield "| peer | labels equal to float32 | maximum difference of a score |"
    yield "|---|---|---|"
    for peer, of in answers.items():
        yield f"| {peer} | {of.equal_labels} of {of.texts} | {of.max_difference:.3f} |"
    for peer, reason in not_run.items():
        yield f"| {peer} | not run: {reason.replace('|', '/')} | |"


def _row(peer: str, measured: Sequence[Measurement], base: Sequence[Measurement]) -> str:
    rates = [of.rate for of in measured]
    ratios = [ours.rate / of.rate for ours, of in zip(base, measured, strict=False) if of.rate]
    cells = [
        peer,
        f"{statistics.median(rates):.0f} ({min(rates):.0f}-{max(rates):.0f})",
        f"{statistics.median(ratios):.2f}" if ratios else "",
        _median((of.p50_ms for of in measured), 1),
        _median((of.p99_ms for of in measured), 0),
        str(sum(of.failures for of in measured)),
        _median((of.rss_mb for of in measured), 0),
        _median((of.cpu_ms for of in measured), 1),
    ]
    return f"| {' | '.join(cells)} |"


def _median(values: Iterable[float | None], digits: int) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.median(known):.{digits}f}" if known else "-"
