"""Open-loop load that rises and falls, on Locust, in a process of its own.

The callers are the load test's, a quarter of a pod's each, so that the load moves in small steps. Each
finished request is a line of JSON: when it was due (Unix time), its latency from then on, and its failure.
"""

import locust  # noqa: F401, I001  # first of all: it patches the standard library

import argparse
import json
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from locust import LoadTestShape
from locust.env import Environment

from loadtest.config import LoadTestConfig, add_arguments, config_from
from loadtest.users import PodUser
from loadtest.slo_evaluator import SLOEvaluator

CALLERS_PER_POD = 4


def main() -> None:
    """Run the ramp to its end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--points", type=json.loads, required=True, help="[[seconds, pods' worth of load], …]"
    )
    add_arguments(parser)
    options = parser.parse_args()
    plan = config_from(options, {})
    share = replace(plan, pace=replace(plan.pace, per_minute=plan.pace.per_minute / CALLERS_PER_POD))
    drive(options.host, share, options.points, options.out)


def drive(host: str, plan: LoadTestConfig, points: list[tuple[float, float]], out: Path) -> None:
    """Send load whose course is linear between the given points."""
    environment = Environment(user_classes=[PodUser], shape_class=_ramp(points), host=host)
    SLOEvaluator(environment, lambda: plan, lambda *_: None)
    with out.open("w") as lines:

        def note(response_time: float, exception: BaseException | None, **_: Any) -> None:
            due_s = time.time() - response_time / 1000
            failure = None if exception is None else str(exception)
            lines.write(json.dumps({"due_s": due_s, "latency_ms": response_time, "failure": failure}) + "\n")

        environment.events.request.add_listener(note)
        runner = environment.create_local_runner()
        runner.start_shape()
        runner.shape_greenlet.join()
        runner.quit()


def _ramp(points: list[tuple[float, float]]) -> LoadTestShape:
    class Ramp(LoadTestShape):  # type: ignore[misc]
        def tick(self) -> tuple[int, float] | None:
            now_s = self.get_run_time()
            for (from_s, low), (to_s, high) in pairwise(points):
                if now_s < to_s:
                    pods = low + (high - low) * (now_s - from_s) / (to_s - from_s)
                    return round(CALLERS_PER_POD * pods), 100.0
            return None

    return Ramp()


if __name__ == "__main__":
    main()
