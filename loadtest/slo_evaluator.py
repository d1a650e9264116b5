"""Connection of a plan to Locust's events, shared by `python -m loadtest` and the locustfile.

test start → a new ledger · all users started → the window opens after the warm-up · test stopping → it closes
· test stop (every answer received, or timed out) → the verdict · quitting → the exit code.
"""

import itertools
import time
from collections.abc import Callable
from typing import Any

from locust.exception import StopTest

from loadtest.config import Plan
from loadtest.errors import CannotRun
from loadtest.request_log import Ledger
from loadtest.results import Observations, Sample
from loadtest.slo import Verdict, judge
from loadtest.users import PodCallers

Listener = Callable[[str, Plan, Observations, Verdict], None]
"""Callback with the tested host, the offered load, the observations, and the verdict."""


class Referee:
    """Listener on one Locust environment that evaluates each test it runs.

    Attributes:
        ledger: Requests of the current test.
        verdict: Verdict on the last test; None before a test with a measured window has ended.
    """

    def __init__(
        self,
        environment: Any,
        make_plan: Callable[[], Plan],
        on_verdict: Listener,
        record: Callable[[Sample], None] = lambda sample: None,
    ) -> None:
        self._record = record
        self.ledger = Ledger()
        self.verdict: Verdict | None = None
        self._environment = environment
        self._make_plan = make_plan
        self._on_verdict = on_verdict
        self._plan: Plan | None = None
        self._host = ""
        events = environment.events
        events.test_start.add_listener(self._begin)
        events.spawning_complete.add_listener(self._open)
        events.test_stopping.add_listener(self._close)
        events.test_stop.add_listener(self._judge)
        events.quitting.add_listener(self._quit)

    def _begin(self, **_: object) -> None:
        self.verdict = None
        self.ledger = Ledger(record=self._record)
        try:
            self._plan = self._make_plan()
        except CannotRun as error:  # the options can be changed on the web page
            self._environment.process_exit_code = 2
            raise StopTest(str(error)) from error
        self._host = str(self._environment.host)
        PodCallers.plan, PodCallers.ledger, PodCallers.pods = self._plan, self.ledger, itertools.count()

    def _open(self, user_count: int, **_: object) -> None:
        if self._plan is not None and user_count:
            self.ledger.open(time.monotonic() + self._plan.warmup_s, user_count)

    def _close(self, **_: object) -> None:
        self.ledger.close(time.monotonic())

    def _judge(self, **_: object) -> None:
        seen = self.ledger.observations()
        if seen is not None and self._plan is not None:
            self.verdict = judge(seen, self._plan.slo)
            self._on_verdict(self._host, self._plan, seen, self.verdict)

    def _quit(self, **_: object) -> None:
        if self._plan is None:
            return  # no test was started
        self._environment.runner.quit()  # on Ctrl-C, Locust reports that it is quitting before it stops
        if self.verdict is None:
            self._environment.process_exit_code = 2  # nothing was measured
        else:
            self._environment.process_exit_code = 0 if self.verdict.passed else 1
