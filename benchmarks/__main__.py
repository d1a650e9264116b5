"""`make bench`: comparison of this service with its peers and with its limit, as ratios from one run.

Each figure and its divisor are measured in turns, on the same texts and with the same threads: on a shared
machine the absolute rates change, whereas the ratios are stable.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import numpy as np
import psutil
import uvloop

from benchmarks import fairness, in_process
from benchmarks.load import LoadResult, closed_loop, get_rate
from benchmarks.overload import Flood, flood
from benchmarks.texts import mixed
from serve_app.dev_server.launcher import Plan, free_port, serving
from serve_app.model import resolver
from serve_app.model.classifier import Classifier
from serve_app.model.scorer import EncodedText
from tests.labelled import labelled_texts
from train.prediction_log.reader import Log, Window
from train.prediction_log.summary import summarise

CONNECTIONS = 32
OVERLOAD_TURNS, OVERLOAD_S = 5, 30.0
SERVICE_TURNS, SERVICE_TURN_S, SETTLE_S = 12, 6.0, 3.0
CAPTURE_TURNS, CAPTURE_TURN_S = 10, 7.0
_ALONE = "benchmarks.alone"


@dataclass(frozen=True)
class TableRow:
    """Row of the table; `target` is the promised ratio, if there is one."""

    what: str
    value: str
    ratio: float | None = None
    target: str = ""


def main() -> int:
    """Run the selected benchmarks; return 0 regardless of the results, since a benchmark is not a test."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", default=["model", "service", "peer", "proxy", "overload"])
    parser.add_argument("--texts", type=int, default=600)
    parser.add_argument("--seconds", type=float, default=20, help="of each run of a closed loop")
    parser.add_argument("--rounds", type=int, default=3, help="turns of the in-process comparison")
    parser.add_argument("--threads", type=int, default=psutil.cpu_count() or 1)
    parser.add_argument(
        "--alone", action="store_true", help="`capture`: both replicas without Ray, each in a process"
    )
    parser.add_argument("--data", type=Path, help="folder of labelled texts (DATA_DIR)")
    parser.add_argument("--json", type=Path, help="write the rows here too")
    options = parser.parse_args()
    texts, source = mixed(options.texts, options.data or labelled_texts())
    bundle = resolver.fetch("builtin:", cache_dir=Path.home() / ".cache/sentiment-service")
    bench = Bench(texts, bundle, options.threads, options.seconds, options.rounds, options.alone)
    tokens = [item.tokens for item in bench.items]
    print(
        f"{len(texts)} texts, {statistics.mean(tokens):.0f} tokens on average (longest {max(tokens)}); "
        f"{source}; {options.threads} threads",
        flush=True,
    )
    rows: list[TableRow] = []
    for part in options.parts:
        for row in getattr(bench, part)():
            rows.append(row)
            ratio = "" if row.ratio is None else f"{row.ratio:6.2f}"
            print(f"{row.what:66} {row.value:>16} {ratio:>6}  {row.target}", flush=True)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    return 0


@dataclass
class Bench:
    """Comparisons, each a generator of rows."""

    texts: list[str]
    bundle: resolver.Bundle
    threads: int
    seconds: float
    rounds: int
    alone: bool

    def __post_init__(self) -> None:
        self.classifier = Classifier(self.bundle, threads=self.threads)
        self.plain = Classifier(self.bundle, threads=self.threads, packed=False)
        self.items = self.classifier.preprocess(self.texts)

    def model(self) -> Iterator[TableRow]:
        """Compare padded, sorted and packed batches in process: eager and as a graph, float32, bfloat16."""
        items, forward = self.items, self.classifier.forward
        padded, eager = in_process.padded(self.plain), partial(self.classifier.logits, eager=True)
        coarse = Classifier(self.bundle, threads=self.threads, dtype="bfloat16").forward
        cases: dict[str, tuple[Callable[[Sequence[EncodedText]], object], list[Sequence[EncodedText]]]] = {
            "padded, arrival order, batches of 32": (padded, in_process.cut(items, 32)),
            "padded, windows of 32 by length, batches of 8": (
                padded,
                in_process.cut_by_length(items, 8, window=32),
            ),
            "padded, all by length, batches of 16": (padded, in_process.cut_by_length(items, 16)),
            "packed, arrival order, batches of 8": (forward, in_process.cut(items, 8)),
            "packed, arrival order, batches of 16": (forward, in_process.cut(items, 16)),
            "packed, arrival order, batches of 32": (forward, in_process.cut(items, 32)),
            "packed, eager, batches of 32": (eager, in_process.cut(items, 32)),
            "packed, bfloat16, batches of 32": (coarse, in_process.cut(items, 32)),
            "packed, one text at a time": (forward, in_process.cut(items, 1)),
            "packed, eager, one text at a time": (eager, in_process.cut(items, 1)),
        }
        rates: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(self.rounds):
            for name, (run, batches) in cases.items():
                rates[name].append(in_process.rate(run, batches))
        base = statistics.median(next(iter(rates.values())))
        for name, seen in rates.items():
            rate = statistics.median(seen)
            yield TableRow(f"in process: {name}", f"{rate:.0f} texts/s", rate / base)

    def service(self) -> Iterator[TableRow]:
        """Measure the service at 32 connections and at one, as a fraction of the model in process.

        The two take turns, since the machine's speed changes. Every process of the service is stopped during
        the turn of the model in process, so that the service uses no CPU meanwhile.
        """
        padded = [self._padded_rate()]
        many: list[LoadResult] = []
        with _running() as plan:
            self._loop(plan, seconds=3)
            packed = [self._packed_rate_alone()]
            for _ in range(SERVICE_TURNS):
                many.append(self._loop(plan, seconds=SERVICE_TURN_S))
                packed.append(self._packed_rate_alone())
            one = self._loop(plan, connections=1)
        padded.append(self._padded_rate())
        rate = statistics.mean(outcome.rate for outcome in many)
        # Each turn of the service is compared with the in-process turns immediately before and after it.
        shares = [2 * of.rate / sum(pair) for of, pair in zip(many, itertools.pairwise(packed), strict=True)]
        low, middle, high = np.quantile(shares, (0.25, 0.5, 0.75))
        yield TableRow(f"service, {CONNECTIONS} connections", f"{rate:.0f} texts/s")
        yield TableRow(
            "in process: packed, batches of 32, in turns with it", f"{statistics.mean(packed):.0f} texts/s"
        )
        yield TableRow("  service over it, median of the turns", "", middle, ">= 0.85")
        yield TableRow("  p25 / p75 of the turns", f"{low:.2f} / {high:.2f}")
        slow = statistics.mean(padded)
        yield TableRow(
            "in process: padded, before and after the service", f"{slow:.0f} texts/s", rate / slow, ">= 2.3"
        )
        yield TableRow("  failed requests", str(sum(outcome.failures for outcome in many)), None, "0")
        yield TableRow(
            "  p50 / p99", " / ".join(f"{1000 * _latency_s(many, q):.0f}" for q in (0.5, 0.99)) + " ms"
        )
        added = statistics.median(
            latency - forward for latency, forward in zip(one.latencies_s, one.forwards_s, strict=True)
        )
        yield TableRow("service, 1 connection: p50", f"{1000 * one.latency_s(0.5):.1f} ms")
        yield TableRow("  added to the forward, median", f"{1000 * added:.1f} ms", None, "<= 5 ms")

    def peer(self) -> Iterator[TableRow]:
        """Compare this batcher with @serve.batch, both behind HAProxy."""
        apps = {"ours": "serve_app.app:app", "@serve.batch": "benchmarks.peer:app"}
        seen = self._in_turn({name: partial(_running, import_path=path) for name, path in apps.items()})
        ours, theirs = (statistics.mean(outcome.rate for outcome in seen[name]) for name in apps)
        yield TableRow(
            f"@serve.batch, padded, in a thread, {CONNECTIONS} connections", f"{theirs:.0f} texts/s", 1.0
        )
        yield TableRow(
            f"this batcher, {CONNECTIONS} connections", f"{ours:.0f} texts/s", ours / theirs, ">= 2.5"
        )

    def bfloat16(self) -> Iterator[TableRow]:
        """Compare the service with its model in bfloat16 and in float32."""
        dtypes = ("float32", "bfloat16")
        seen = self._in_turn(
            {dtype: partial(_running, environment={"SENTIMENT_PRECISION": dtype}) for dtype in dtypes}
        )
        base = statistics.mean(outcome.rate for outcome in seen["float32"])
        for dtype, outcomes in seen.items():
            rate, p99_s = statistics.mean(outcome.rate for outcome in outcomes), _latency_s(outcomes, 0.99)
            yield TableRow(
                f"service in {dtype}, {CONNECTIONS} connections", f"{rate:.0f} texts/s", rate / base
            )
            yield TableRow("  p99", f"{1000 * p99_s:.0f} ms")

    def proxy(self) -> Iterator[TableRow]:
        """Compare Serve's own proxy with HAProxy and direct ingress: a route that does no work, and texts."""
        empty: dict[bool, float] = {}
        texts: dict[bool, float] = {}
        for one_hop in (False, True):
            with _running(one_hop=one_hop) as plan:
                self._loop(plan, seconds=3)
                empty[one_hop] = uvloop.run(
                    get_rate(plan.url, "/v2/health/live", connections=CONNECTIONS, seconds=self.seconds / 2)
                )
                texts[one_hop] = self._loop(plan).rate
        yield TableRow("default proxy: empty route", f"{empty[False]:.0f} requests/s", 1.0)
        yield TableRow(
            "HAProxy, direct ingress: empty route",
            f"{empty[True]:.0f} requests/s",
            empty[True] / empty[False],
        )
        yield TableRow("default proxy: texts", f"{texts[False]:.0f} texts/s", 1.0)
        yield TableRow(
            "HAProxy, direct ingress: texts", f"{texts[True]:.0f} texts/s", texts[True] / texts[False]
        )

    def overload(self) -> Iterator[TableRow]:
        """Alternate floods of ten times the capacity with shorter turns of one and a half times the capacity.

        The p99 of a flood is divided by that of the turns before and after it, and the median over the floods
        is reported: the machine's speed changes within minutes, and a one-second stall determines the p99 of
        a single flood.
        """
        with _running() as plan:
            capacity = self._loop(plan, seconds=10)
            [replica] = _replicas()

            def offer(times: float, seconds: float = OVERLOAD_S / 2) -> Flood:
                offered = flood(plan.url, self.texts, replica, per_s=times * capacity.rate, seconds=seconds)
                return uvloop.run(offered)

            once, full, floods = [offer(1)], [offer(1.5)], []
            for _ in range(OVERLOAD_TURNS):
                floods.append(offer(10, OVERLOAD_S))
                full.append(offer(1.5))
            once.append(offer(1))
        p50_s, p99_s = (_accepted_s(floods, q) for q in (0.5, 0.99))
        p99_once_s, p99_full_s = (_accepted_s(of, 0.99) for of in (once, full))

        def ratios(after_s: float = 0.0) -> list[float]:
            return [
                _accepted_s([seen], 0.99, after_s) / _accepted_s(beside, 0.99)
                for seen, beside in zip(floods, itertools.pairwise(full), strict=True)
            ]

        kept, kept_later = ratios(), ratios(after_s=1)
        offered_per_s = statistics.mean(seen.offered_per_s for seen in floods)
        rate = sum(len(seen.accepted) for seen in floods) / OVERLOAD_TURNS / OVERLOAD_S
        yield TableRow(
            "capacity, 32 connections", f"{capacity.rate:.0f} texts/s, p99 {capacity.latency_s(0.99):.2f} s"
        )
        yield TableRow("offered", f"{offered_per_s:.0f} /s", offered_per_s / capacity.rate)
        yield TableRow("accepted", f"{rate:.0f} /s", rate / capacity.rate)
        yield TableRow("  p50 / p99", f"{p50_s:.2f} / {p99_s:.2f} s")
        yield TableRow(
            "  p99 over that at the capacity, open loop", f"{p99_once_s:.2f} s", p99_s / p99_once_s
        )
        yield TableRow(
            "  p99 over that at 1.5 times the capacity, median of the floods",
            f"{p99_full_s:.2f} s",
            statistics.median(kept),
            "1",
        )
        yield TableRow("    of each flood", " / ".join(f"{ratio:.2f}" for ratio in kept))
        yield TableRow(
            "    of each flood, without its first second",
            " / ".join(f"{ratio:.2f}" for ratio in kept_later),
            statistics.median(kept_later),
        )
        scatter = sorted(_accepted_s([seen], 0.99) / p99_full_s for seen in full)
        yield TableRow(
            "    of each run at 1.5 times over all of them", f"{scatter[0]:.2f} to {scatter[-1]:.2f}"
        )
        statuses: Counter[int] = sum((seen.statuses for seen in floods), Counter())
        yield TableRow("statuses", ", ".join(f"{status}: {count}" for status, count in statuses.items()))
        yield TableRow("  not sent, over the generator's bound", str(sum(seen.not_sent for seen in floods)))
        foretold = np.quantile([ratio for seen in floods for ratio in seen.retry_ratios()], (0.05, 0.5, 0.95))
        yield TableRow(
            "Retry-After over the time it foretells, p5 / p50 / p95",
            "{:.2f} / {:.2f} / {:.2f}".format(*foretold),
            None,
            "0.5 to 2",
        )
        memory = [size / 1e6 for seen in floods for size in seen.memory]
        yield TableRow(
            "replica's memory: before, most, after",
            f"{memory[0]:.0f}, {max(memory):.0f}, {memory[-1]:.0f} MB",
        )
        recovered = " / ".join(f"{seen.recovered_s:.1f}" for seen in floods)
        yield TableRow("normal again after", f"{recovered} s", None, "<= 2 s")

    def capture(self) -> Iterator[TableRow]:
        """Compare two services, one of which captures every text in full; the load alternates between them.

        The CPU seconds of the replicas are compared, too: they are valid on a machine that others use.
        """
        cpu_s = {False: 0.0, True: 0.0}
        turns: dict[bool, list[LoadResult]] = {False: [], True: []}
        start = _alone if self.alone else _running
        marks = {captures: {"SENTIMENT_BENCH": f"{os.getpid()}-{captures}"} for captures in turns}
        with (
            TemporaryDirectory() as log,
            start(environment=marks[False]) as off,
            start(environment=marks[True] | _captured_to(log)) as on,
        ):
            plans = {False: off, True: on}
            warm_up = {captures: self._loop(plan, seconds=5) for captures, plan in plans.items()}
            replicas = {captures: _replica_with(mark) for captures, mark in marks.items()}
            for number in range(CAPTURE_TURNS):
                for captures in (False, True) if number % 2 else (True, False):
                    began_s = _cpu_s(replicas[captures])
                    turns[captures].append(self._loop(plans[captures], seconds=CAPTURE_TURN_S))
                    cpu_s[captures] += _cpu_s(replicas[captures]) - began_s
            # Each file is stored during the next turn, so wait for the last one.
            asked = sum(outcome.statuses[200] for outcome in [warm_up[True], *turns[True]])
            kept, size_bytes = _captured(Path(log), at_least=asked)
        answers = {captures: sum(o.statuses[200] for o in of) for captures, of in turns.items()}
        rates = {captures: statistics.mean(o.rate for o in of) for captures, of in turns.items()}
        p50s, p95s = ({c: _latency_s(of, q) for c, of in turns.items()} for q in (0.5, 0.95))
        yield TableRow(f"capture off, {CONNECTIONS} connections", f"{rates[False]:.1f} texts/s", 1.0)
        yield TableRow("capture on", f"{rates[True]:.1f} texts/s", rates[True] / rates[False], ">= 0.97")
        costs = {captures: cpu_s[captures] / answers[captures] for captures in turns}
        cost = f"{1000 * costs[False]:.2f} / {1000 * costs[True]:.2f} ms"
        yield TableRow("  CPU of the replica a text, off / on", cost, costs[True] / costs[False], "<= 1.03")
        yield TableRow("  p50 off / on", _ms(p50s), p50s[True] / p50s[False])
        yield TableRow("  p95 off / on", _ms(p95s), p95s[True] / p95s[False], "<= 1.05")
        paired = [on.rate / off.rate for on, off in zip(turns[True], turns[False], strict=True)]
        low, middle, high = np.quantile(paired, (0.25, 0.5, 0.75))
        yield TableRow("  on over off by turn: p25 / p50 / p75", f"{low:.2f} / {middle:.2f} / {high:.2f}")
        failures = {captures: sum(o.failures for o in of) for captures, of in turns.items()}
        yield TableRow("  failed requests off / on", f"{failures[False]} / {failures[True]}", None, "0 / 0")
        yield TableRow("  rows kept / asked, with 2 more at the start", f"{kept} / {asked}")
        yield TableRow("  bytes of the log a row", f"{size_bytes / kept:.0f}")

    def fairness(self) -> Iterator[TableRow]:
        """Measure small requests next to large ones, large ones alone, bursts, and open loops.

        The open loops offer less than the capacity.
        """
        short = [text for text, item in zip(self.texts, self.items, strict=True) if item.tokens <= 20]
        long = [fairness.long_text(self.texts)]
        with _running(environment={"SENTIMENT_MAX_TEXTS_PER_REQUEST": "256"}) as plan:
            self._loop(plan, seconds=3)
            outcome = uvloop.run(fairness.burst(plan.url, short[:32]))
            yield TableRow(
                "burst of 32 short texts at an idle service: refused", str(outcome.failures), None, "0"
            )
            for text in short[:100]:
                httpx.post(f"{plan.url}/v1/classify", json={"inputs": text}).raise_for_status()
            outcome = uvloop.run(fairness.burst(plan.url, short[:32]))
            yield TableRow("  the same after 100 single texts: refused", str(outcome.failures), None, "0")
            yield from self._next_to_bulk(plan, short, long)
            yield from self._large_requests(plan)
            rates: dict[int, list[float]] = {}
            for connections in (32, 128, 32, 128, 32, 128):
                rates.setdefault(connections, []).append(
                    self._loop(plan, connections=connections, seconds=8).rate
                )
            capacity, many = statistics.mean(rates[32]), statistics.mean(rates[128])
            yield TableRow("128 connections, over 32", f"{many:.0f} texts/s", many / capacity, ">= 0.95")
            for part in (0.3, 0.6):
                run = fairness.open_loop(plan.url, self.texts, per_s=part * capacity, seconds=self.seconds)
                seen = uvloop.run(run)
                yield TableRow(
                    f"open loop at {part:.0%} of the capacity: refused", str(seen.failures), None, "0"
                )
                yield TableRow("  p95", f"{1000 * seen.latency_s(0.95):.0f} ms")

    def _next_to_bulk(self, plan: Plan, short: Sequence[str], long: Sequence[str]) -> Iterator[TableRow]:
        """Measure short texts at 10 per second, alone and next to a client with requests of 64 long texts."""
        seconds = self.seconds / 2
        alone: list[fairness.Seen] = []
        beside: dict[str, list[tuple[fairness.Seen, fairness.Seen]]] = {"bulk": [], "": []}
        for _ in range(3):
            alone.append(uvloop.run(fairness.open_loop(plan.url, short, per_s=10, seconds=seconds)))
            for priority, seen in beside.items():
                run = fairness.next_to_bulk(
                    plan.url, short, long, per_s=10, seconds=seconds, priority=priority
                )
                seen.append(uvloop.run(run))
        base = _p95_s(alone)
        yield TableRow("short texts, 10 a second, alone: p95", f"{1000 * base:.0f} ms", 1.0)
        for priority, seen in beside.items():
            p95_s = _p95_s([small for small, _ in seen])
            name = "X-Request-Priority: bulk" if priority else "no header"
            yield TableRow(
                f"  next to 64 x 512 tokens, {name}: p95", f"{1000 * p95_s:.0f} ms", p95_s / base, "<= 2"
            )
            yield TableRow("    short ones refused", str(sum(small.failures for small, _ in seen)), None, "0")
            yield TableRow("    large ones answered / refused", _answered([large for _, large in seen]))

    def _large_requests(self, plan: Plan) -> Iterator[TableRow]:
        """Measure requests of many texts alone, in turns with the model in process."""
        for connections, per_request in ((4, 32), (2, 256)):
            shares, refused = [], 0
            before = self._packed_rate_alone()
            for _ in range(4):
                run = fairness.closed_loops(
                    plan.url,
                    self.texts,
                    connections=connections,
                    per_request=per_request,
                    seconds=self.seconds,
                )
                seen = uvloop.run(run)
                after = self._packed_rate_alone()
                shares.append(2 * seen.rate / (before + after))
                before, refused = after, refused + seen.failures
            share = statistics.median(shares)
            name = f"{connections} connections x {per_request} texts"
            yield TableRow(f"{name}, over the model in process", f"{seen.rate:.0f} texts/s", share, ">= 0.9")
            yield TableRow("  refused", str(refused), None, "0")

    def _in_turn(
        self, services: dict[str, Callable[[], AbstractContextManager[Plan]]]
    ) -> dict[str, list[LoadResult]]:
        """Run a closed loop on each service after a warm-up, and on the first service again at the end."""
        seen: dict[str, list[LoadResult]] = {name: [] for name in services}
        for name in [*services, next(iter(services))]:
            with services[name]() as plan:
                self._loop(plan, seconds=3)
                seen[name].append(self._loop(plan))
        return seen

    def _padded_rate(self) -> float:
        """Return the texts per second in process, padded, in batches of 32 in arrival order."""
        return in_process.rate(in_process.padded(self.plain), in_process.cut(self.items, CONNECTIONS))

    def _packed_rate_alone(self) -> float:
        """Return the texts per second in process, with 32 texts always waiting and the service stopped."""
        with _stopped():
            return in_process.rate(self.classifier.forward, in_process.cut(self.items, CONNECTIONS))

    def _loop(
        self, plan: Plan, *, connections: int = CONNECTIONS, seconds: float | None = None
    ) -> LoadResult:
        return uvloop.run(
            closed_loop(plan.url, self.texts, connections=connections, seconds=seconds or self.seconds)
        )


def _captured_to(log: str) -> dict[str, str]:
    """Return variables for a log that is flushed ten times as often as by default, on a second cluster."""
    return {
        "SENTIMENT_LOG_URI": log,
        "SENTIMENT_LOG_PRIVACY": "full",
        "SENTIMENT_LOG_FLUSH_S": "1",
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": "32000",
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": "33000",
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": "42000",
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": "43000",
    }


def _captured(log: Path, *, at_least: int) -> tuple[int, int]:
    """Return the rows and bytes of a log when it has enough rows, or after a minute."""
    deadline = time.monotonic() + 60
    while True:
        held = summarise(Log(str(log)), Window())
        rows = sum(of.rows for of in held)
        if rows >= at_least or time.monotonic() > deadline:
            return rows, sum(of.size_bytes for of in held)
        time.sleep(0.5)


def _p95_s(outcomes: Sequence[fairness.Seen]) -> float:
    return float(np.quantile([latency for seen in outcomes for latency in seen.latencies_s], 0.95))


def _answered(outcomes: Sequence[fairness.Seen]) -> str:
    return f"{sum(seen.statuses[200] for seen in outcomes)} / {sum(seen.failures for seen in outcomes)}"


def _latency_s(outcomes: Sequence[LoadResult], q: float) -> float:
    """Return a latency quantile over several runs."""
    return float(np.quantile([latency for outcome in outcomes for latency in outcome.latencies_s], q))


def _accepted_s(floods: Sequence[Flood], q: float, after_s: float = 0.0) -> float:
    """Return a latency quantile of the accepted requests over several runs, from `after_s` of each on."""
    latencies = [
        latency for seen in floods for sent, latency, _ in seen.accepted if sent - seen.began >= after_s
    ]
    return float(np.quantile(latencies, q))


def _ms(seconds: dict[bool, float]) -> str:
    return f"{1000 * seconds[False]:.0f} / {1000 * seconds[True]:.0f} ms"


@contextmanager
def _running(
    *,
    import_path: str = "serve_app.app:app",
    one_hop: bool = True,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Plan]:
    plan = Plan(
        environment=environment or {},
        port=free_port(),
        dashboard_port=free_port(),
        metrics_port=free_port(),
        import_path=import_path,
        one_hop=one_hop,
    )
    with serving(plan, lambda line: print(f"  {line}", file=sys.stderr)):
        yield plan


@contextmanager
def _stopped() -> Iterator[None]:
    """Stop every process that this one started while the block runs, for seconds and not for a minute.

    The processes complete their delayed work before this function returns.
    """
    started = psutil.Process().children(recursive=True)
    for process in started:
        process.suspend()
    try:
        yield
    finally:
        for process in started:
            process.resume()
        time.sleep(SETTLE_S)


@contextmanager
def _alone(*, environment: Mapping[str, str] | None = None) -> Iterator[Plan]:
    """Run a replica without Ray and HAProxy."""
    plan = Plan(port=free_port())
    threads = {"SENTIMENT_REPLICA_CPUS": str(plan.cpus)}
    command = [sys.executable, "-m", _ALONE, str(plan.port)]
    with subprocess.Popen(command, env=os.environ | threads | dict(environment or {})) as process:
        try:
            while not _ready(plan.url):
                time.sleep(0.5)
                if process.poll() is not None:
                    raise SystemExit(f"the replica ended with {process.returncode}")
            yield plan
        finally:
            process.terminate()


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v2/health/ready").is_success
    except httpx.TransportError:
        return False


def _replicas() -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any("ServeReplica:sentiment" in word or word == _ALONE for word in process.info["cmdline"] or [])
    ]


def _replica_with(variables: Mapping[str, str]) -> psutil.Process:
    """Return the replica with these variables in its environment: others may run on the machine."""
    [replica] = [process for process in _replicas() if variables.items() <= process.environ().items()]
    return replica


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    raise SystemExit(main())
