"""Configuration of a load test: what to send, how fast, and the SLO, from validated command-line options."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from loadtest.errors import ConfigError
from loadtest.schedule import KINDS, ArrivalRate
from loadtest.slo import SLO
from loadtest.texts import corpus

KEY_VARIABLE = "LOADTEST_API_KEY"
"""Environment variable with the service's API key; other users of the machine could see an option."""

MAX_PER_MINUTE = 60_000
"""Maximum requests per minute and pod: more than one process can send evenly."""


@dataclass(frozen=True, slots=True)
class LoadTestConfig:
    """Configuration of one load test, complete except for the host and the number of pods.

    Attributes:
        pace: Arrival rate of each pod.
        warmup_s: Seconds of load before the window; its requests are sent and answered, but not counted.
        timeout_s: Maximum wait for one entire answer in seconds; after it the request has failed.
        slo: The SLO that the observations are compared with.
        texts: Texts to send, one per request.
        texts_from: Source of the texts, for the report.
        owned: Whether hosts other than this machine belong to the caller.
        api_key: Key sent as `Authorization: Bearer KEY`; empty for a service without keys.
    """

    pace: ArrivalRate
    warmup_s: float
    timeout_s: float
    slo: SLO
    texts: tuple[str, ...]
    texts_from: str
    owned: bool
    api_key: str = field(default="", repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers of every request."""
        return {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}


class _Arguments(Protocol):
    """Object that options are added to: argparse's parser, one of its groups, or Locust's own parser."""

    def add_argument(self, *names: str, **settings: Any) -> argparse.Action: ...


def add_arguments(parser: _Arguments) -> None:
    """Add the options that a scenario and the locustfile share."""
    promise = SLO()
    add = parser.add_argument
    add(
        "--per-minute",
        type=float,
        default=600.0,
        metavar="N",
        help="requests a minute offered to each pod (600)",
    )
    add(
        "--arrivals",
        choices=KINDS,
        default="poisson",
        help="poisson: in bursts and gaps, as independent callers send; constant: evenly spaced (poisson)",
    )
    add("--warmup", type=float, default=5.0, metavar="S", help="seconds sent before counting starts (5)")
    add("--timeout", type=float, default=10.0, metavar="S", help="seconds until a request has failed (10)")
    add(
        "--texts",
        default=None,
        metavar="FILE",
        help="texts to send: .txt (one a line); .csv, .jsonl, .parquet with a column 'text' (invented)",
    )
    add("--seed", type=int, default=1, metavar="N", help="same seed, same texts and times (1)")
    add("--p95-ms", type=float, default=promise.p95_ms, metavar="MS", help="promise: highest p95 (100)")
    add(
        "--min-per-minute",
        type=float,
        default=promise.per_minute,
        metavar="N",
        help="promise: lowest rate of right answers a minute a pod (480)",
    )
    add(
        "--max-failed-fraction",
        type=float,
        default=promise.failed_fraction,
        metavar="F",
        help="promise: highest share of requests without a right answer (0)",
    )
    add(
        "--i-own-this-host",
        action="store_true",
        help="allow a host beyond this machine; a load test aimed at somebody else's is an attack",
    )


def config_from(options: argparse.Namespace, environment: Mapping[str, str]) -> LoadTestConfig:
    """Return the configuration that the parsed options of `add_arguments` describe.

    Args:
        options: Parsed options.
        environment: Environment variables; only `KEY_VARIABLE` is read.

    Raises:
        ConfigError: A number is out of its range, or the SLO's rate is higher than the offered rate.
        TextsError: The file of texts cannot be used.
    """
    _require(
        0 < options.per_minute <= MAX_PER_MINUTE,
        f"--per-minute {options.per_minute:g}: expected 1 to {MAX_PER_MINUTE}",
    )
    _require(0 <= options.warmup <= 600, f"--warmup {options.warmup:g}: expected 0 to 600 seconds")
    _require(0 < options.timeout <= 120, f"--timeout {options.timeout:g}: expected 0 to 120 seconds")
    _require(options.p95_ms > 0, f"--p95-ms {options.p95_ms:g}: expected above 0")
    _require(
        0 <= options.max_failed_fraction <= 1,
        f"--max-failed-fraction {options.max_failed_fraction:g}: expected 0 to 1",
    )
    _require(
        0 < options.min_per_minute <= options.per_minute,
        f"--min-per-minute {options.min_per_minute:g}: expected above 0 and at most the offered rate "
        f"(--per-minute {options.per_minute:g})",
    )
    path = Path(options.texts) if options.texts else None
    return LoadTestConfig(
        pace=ArrivalRate(options.per_minute, options.arrivals, options.seed),
        warmup_s=options.warmup,
        timeout_s=options.timeout,
        slo=SLO(options.p95_ms, options.min_per_minute, options.max_failed_fraction),
        texts=corpus(path, options.seed),
        texts_from=path.name if path else "invented",
        owned=options.i_own_this_host,
        api_key=environment.get(KEY_VARIABLE, ""),
    )


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise ConfigError(f"{rule}; see --help")
