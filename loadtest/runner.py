"""Execution of one plan with Locust as a library.

Importing this module patches the process's sockets (gevent).
"""

import locust  # noqa: F401, I001  # first of all: it patches the standard library

import sys
import time
from collections.abc import Callable

import gevent
from locust.env import Environment

from loadtest.errors import CannotRun
from loadtest.request_log import Ledger
from loadtest.results import Observations, Sample
from loadtest.config import Plan
from loadtest.slo import Verdict
from loadtest.users import PodCallers
from loadtest.slo_evaluator import Referee

PROGRESS_EVERY_S = 10.0


def drive(
    host: str,
    plan: Plan,
    pods: int,
    duration_s: float,
    record: Callable[[Sample], None] = lambda sample: None,
) -> tuple[Observations, Verdict]:
    """Send the load of `pods` pods to `host`, print progress on stderr, and evaluate the answers.

    Args:
        host: Base URL that `require_ours` has accepted.
        plan: What to send, and the SLO.
        pods: Number of pods, 1 or more.
        duration_s: Length of the measured window; the warm-up comes before it, at most one timeout after it.
        record: Called with each request when it finishes, including those of the warm-up.

    Raises:
        CannotRun: The users could not be started; Locust's log contains the reason.
        KeyboardInterrupt: After the load has been stopped.
    """
    outcome: list[tuple[Observations, Verdict]] = []
    environment = Environment(user_classes=[PodCallers], host=host)
    referee = Referee(
        environment, lambda: plan, lambda _host, _plan, seen, verdict: outcome.append((seen, verdict)), record
    )
    runner = environment.create_local_runner()
    try:
        runner.start(user_count=pods, spawn_rate=pods)
        runner.spawning_greenlet.join()
        if referee.ledger.start_s is None:
            raise CannotRun(f"the callers for {host} could not be started; the lines above say why")
        end_s = referee.ledger.start_s + duration_s
        _wait_until(end_s, referee.ledger)
        referee.ledger.close(end_s)
    finally:
        runner.quit()
    return outcome[0]


def _wait_until(end_s: float, ledger: Ledger) -> None:
    began_s = time.monotonic()
    while (left_s := end_s - time.monotonic()) > 0:
        gevent.sleep(min(left_s, PROGRESS_EVERY_S))
        sent, waiting, failed = ledger.counts()
        print(
            f"  {time.monotonic() - began_s:5.1f} s  sent {sent}  waiting {waiting}  failed {failed}",
            file=sys.stderr,
            flush=True,
        )
