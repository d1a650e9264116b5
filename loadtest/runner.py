"""Execution of one load test with Locust as a library.

Importing this module patches the process's sockets (gevent).
"""

import locust  # noqa: F401, I001  # first of all: it patches the standard library

import sys
import time
from collections.abc import Callable

import gevent
from locust.env import Environment

from loadtest.errors import LoadTestError
from loadtest.request_log import RequestLog
from loadtest.results import Observations, Sample
from loadtest.config import LoadTestConfig
from loadtest.slo import SLOVerdict
from loadtest.users import PodUser
from loadtest.slo_evaluator import SLOEvaluator

PROGRESS_EVERY_S = 10.0


def drive(
    host: str,
    config: LoadTestConfig,
    pods: int,
    duration_s: float,
    record: Callable[[Sample], None] = lambda sample: None,
) -> tuple[Observations, SLOVerdict]:
    """Send the load of `pods` pods to `host`, print progress on stderr, and evaluate the answers.

    Args:
        host: Base URL that `require_authorized_host` has accepted.
        config: What to send, and the SLO.
        pods: Number of pods, 1 or more.
        duration_s: Length of the measured window; the warm-up comes before it, at most one timeout after it.
        record: Called with each request when it finishes, including those of the warm-up.

    Raises:
        LoadTestError: The users could not be started; Locust's log contains the reason.
        KeyboardInterrupt: After the load has been stopped.
    """
    outcome: list[tuple[Observations, SLOVerdict]] = []
    environment = Environment(user_classes=[PodUser], host=host)
    evaluator = SLOEvaluator(
        environment,
        lambda: config,
        lambda _host, _config, seen, verdict: outcome.append((seen, verdict)),
        record,
    )
    runner = environment.create_local_runner()
    try:
        runner.start(user_count=pods, spawn_rate=pods)
        runner.spawning_greenlet.join()
        if evaluator.request_log.start_s is None:
            raise LoadTestError(f"the load on {host} could not be started; see the log messages above")
        end_s = evaluator.request_log.start_s + duration_s
        _wait_until(end_s, evaluator.request_log)
        evaluator.request_log.close(end_s)
    finally:
        runner.quit()
    return outcome[0]


def _wait_until(end_s: float, request_log: RequestLog) -> None:
    began_s = time.monotonic()
    while (left_s := end_s - time.monotonic()) > 0:
        gevent.sleep(min(left_s, PROGRESS_EVERY_S))
        sent, waiting, failed = request_log.counts()
        print(
            f"  {time.monotonic() - began_s:5.1f} s  sent {sent}  waiting {waiting}  failed {failed}",
            file=sys.stderr,
            flush=True,
        )
