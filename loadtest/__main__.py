"""`python -m loadtest <scenario>`: drives the running service and ends with a verdict and an exit code."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from loadtest.config import add_arguments, config_from
from loadtest.errors import ConfigError, LoadTestError
from loadtest.report import document, table
from loadtest.request_log import MAX_REQUESTS

MAX_PODS = 64
MAX_DURATION_S = 3600.0

_SLO = """\
Send real-length texts to a running service, 600 a minute for each pod, and say whether the promise was kept.

  make serve                                    in one terminal
  python -m loadtest slo                        in another: 5 s warm-up, 60 s measured
  python -m loadtest slo --duration 20 --json slo.json
  python -m loadtest slo --pods 4 --texts reviews.csv

The load is open-loop: when each request is due is fixed beforehand, and it is sent then, whether or not
earlier ones were answered. Latency counts from the due time to the whole answer, so a service that stalls
cannot slow its callers down and look well. Every answer is checked: the number of results, label, score, and
that it is the asker's own.
"""

_EXIT_CODES = """\
A service with API keys: put one into the environment variable LOADTEST_API_KEY.

exit codes: 0 promise kept · 1 promise broken · 2 could not run (the message says the next step)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the scenario that the arguments select and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return _slo(options)
    except LoadTestError as error:
        print(f"loadtest: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("loadtest: interrupted before the end, so there is no verdict", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtest", description=__doc__)
    scenarios = parser.add_subparsers(title="scenarios", required=True, metavar="scenario")
    slo = scenarios.add_parser(
        "slo",
        help="is the promise of each pod kept at the offered rate?",
        description=_SLO,
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    slo.add_argument("--host", default="http://127.0.0.1:8000", metavar="URL", help="(http://127.0.0.1:8000)")
    slo.add_argument(
        "--pods", type=int, default=1, metavar="N", help="pods that share the load (%(default)s)"
    )
    slo.add_argument("--duration", type=float, default=60.0, metavar="S", help="seconds measured (60)")
    slo.add_argument("--json", type=Path, metavar="FILE", help="also write the verdict there")
    slo.add_argument(
        "--samples", type=Path, metavar="FILE", help="also write every request there, a JSON object a line"
    )
    add_arguments(slo)
    return parser


def _slo(options: argparse.Namespace) -> int:
    if not 1 <= options.duration <= MAX_DURATION_S:
        raise ConfigError(f"--duration {options.duration:g}: 1 to {MAX_DURATION_S:g} seconds")
    if not 1 <= options.pods <= MAX_PODS:
        raise ConfigError(f"--pods {options.pods}: 1 to {MAX_PODS}")
    if options.json is not None and not options.json.parent.is_dir():
        raise ConfigError(f"--json {options.json}: there is no folder {options.json.parent}")
    config = config_from(options, os.environ)
    # These imports take a second and patch the sockets; --help and an invalid option do not need them.
    from loadtest.runner import drive
    from loadtest.samples import recording
    from loadtest.target import fetch_served_model, require_authorized_host

    host = options.host.rstrip("/")
    require_authorized_host(host, config.owned)
    model = fetch_served_model(host, config.headers)
    requests = options.pods * config.pace.per_minute / 60 * (config.warmup_s + options.duration)
    if requests > MAX_REQUESTS:
        raise ConfigError(f"{requests:.0f} requests in all: at most {MAX_REQUESTS}; shorten --duration")
    print(
        f"{model.name} {model.version} at {host}: {config.warmup_s:g} s warm-up, "
        f"{options.duration:g} s measured",
        file=sys.stderr,
    )
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    with recording(options.samples) as record:
        seen, verdict = drive(host, config, options.pods, options.duration, record)
    print(table(host, config, seen, verdict))
    if options.json is not None:
        options.json.write_text(
            json.dumps(document(host, config, seen, verdict, started_at), indent=2) + "\n"
        )
    return 0 if verdict.passed else 1


if __name__ == "__main__":
    sys.exit(main())
