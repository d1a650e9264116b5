"""Evaluation of each test that Locust runs, shared by `python -m loadtest` and the locustfile.

test start → a new request log · all users started → the window opens after the warm-up · test stopping → it
closes · test stop (every answer received, or timed out) → the verdict · quitting → the exit code.
"""

import itertools
import time
from collections.abc import Callable
from typing import Any

from locust.exception import StopTest

from loadtest.config import LoadTestConfig
from loadtest.errors import LoadTestError
from loadtest.request_log import RequestLog
from loadtest.results import Observations, Sample
from loadtest.slo import SLOVerdict, evaluate_slo
from loadtest.users import PodUser

Listener = Callable[[str, LoadTestConfig, Observations, SLOVerdict], None]
"""Callback with the tested host, the offered load, the observations, and the verdict."""


class SLOEvaluator:
    """Listener on one Locust environment that evaluates each test it runs.

    Attributes:
        request_log: Requests of the current test.
        verdict: Verdict on the last test; None before a test with a measured window has ended.
    """

    def __init__(
        self,
        environment: Any,
        make_config: Callable[[], LoadTestConfig],
        on_verdict: Listener,
        record: Callable[[Sample], None] = lambda sample: None,
    ) -> None:
        self._record = record
        self.request_log = RequestLog()
        self.verdict: SLOVerdict | None = None
        self._environment = environment
        self._make_config = make_config
        self._on_verdict = on_verdict
        self._config: LoadTestConfig | None = None
        self._host = ""
        events = environment.events
        events.test_start.add_listener(self._begin)
        events.spawning_complete.add_listener(self._open)
        events.test_stopping.add_listener(self._close)
        events.test_stop.add_listener(self._evaluate)
        events.quitting.add_listener(self._quit)

    def _begin(self, **_: object) -> None:
        self.verdict = None
        self.request_log = RequestLog(record=self._record)
        try:
            self._config = self._make_config()
        except LoadTestError as error:  # the options can be changed on the web page
            self._environment.process_exit_code = 2
            raise StopTest(str(error)) from error
        self._host = str(self._environment.host)
        PodUser.config, PodUser.request_log, PodUser.pods = self._config, self.request_log, itertools.count()

    def _open(self, user_count: int, **_: object) -> None:
        if self._config is not None and user_count:
            self.request_log.open(time.monotonic() + self._config.warmup_s, user_count)

    def _close(self, **_: object) -> None:
        self.request_log.close(time.monotonic())

    def _evaluate(self, **_: object) -> None:
        seen = self.request_log.observations()
        if seen is not None and self._config is not None:
            self.verdict = evaluate_slo(seen, self._config.slo)
            self._on_verdict(self._host, self._config, seen, self.verdict)

    def _quit(self, **_: object) -> None:
        if self._config is None:
            return  # no test was started
        self._environment.runner.quit()  # on Ctrl-C, Locust reports that it is quitting before it stops
        if self.verdict is None:
            self._environment.process_exit_code = 2  # nothing was measured
        else:
            self._environment.process_exit_code = 0 if self.verdict.passed else 1
