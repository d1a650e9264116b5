"""`python -m loadtest <scenario>`: drives the running service and ends with a verdict and an exit code."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from loadtest.config import add_arguments, plan_from
from loadtest.errors import BadPlan, CannotRun
from loadtest.report import document, table
from loadtest.request_log import MOST_REQUESTS

MOST_PODS = 64
LONGEST_S = 3600.0

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
    except CannotRun as error:
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
    if not 1 <= options.duration <= LONGEST_S:
        raise BadPlan(f"--duration {options.duration:g}: 1 to {LONGEST_S:g} seconds")
    if not 1 <= options.pods <= MOST_PODS:
        raise BadPlan(f"--pods {options.pods}: 1 to {MOST_PODS}")
    if options.json is not None and not options.json.parent.is_dir():
        raise BadPlan(f"--json {options.json}: there is no folder {options.json.parent}")
    plan = plan_from(options, os.environ)
    # These imports take a second and patch the sockets; --help and an invalid option do not need them.
    from loadtest.runner import drive
    from loadtest.samples import recording
    from loadtest.target import look, require_ours

    host = options.host.rstrip("/")
    require_ours(host, plan.owned)
    live = look(host, plan.headers)
    requests = options.pods * plan.pace.per_minute / 60 * (plan.warmup_s + options.duration)
    if requests > MOST_REQUESTS:
        raise BadPlan(f"{requests:.0f} requests in all: at most {MOST_REQUESTS}; shorten --duration")
    print(
        f"{live.name} {live.version} at {host}: {plan.warmup_s:g} s warm-up, {options.duration:g} s measured",
        file=sys.stderr,
    )
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    with recording(options.samples) as record:
        seen, verdict = drive(host, plan, options.pods, options.duration, record)
    print(table(host, plan, seen, verdict))
    if options.json is not None:
        options.json.write_text(json.dumps(document(host, plan, seen, verdict, started_at), indent=2) + "\n")
    return 0 if verdict.passed else 1


if __name__ == "__main__":
    sys.exit(main())
