"""Entry file for Locust, with its web page or `--headless`.

`locust -f loadtest/locustfile.py --host http://127.0.0.1:8000`

The number of users is the number of pods: each user represents all callers of one pod. The verdict is printed
when a test stops, and determines the exit code. The window lasts from the end of the warm-up (all users
started) until the test stops.
"""

import os
import sys
from typing import Any

from locust import events
from locust.runners import MasterRunner, WorkerRunner

from loadtest.config import LoadTestConfig, add_arguments, config_from
from loadtest.errors import ConfigError, LoadTestError
from loadtest.report import table
from loadtest.results import Observations
from loadtest.slo import SLOVerdict
from loadtest.slo_evaluator import SLOEvaluator
from loadtest.target import require_authorized_host
from loadtest.users import PodUser

__all__ = ["PodUser"]


def _declare(parser: Any, **_: object) -> None:
    add_arguments(parser.add_argument_group("promise and load of each pod"))


def _start(environment: Any, **_: object) -> None:
    if isinstance(environment.runner, MasterRunner | WorkerRunner):
        _refuse(
            ConfigError(
                "the verdict requires all samples in one process; run without --master, --worker, --processes"
            )
        )
    try:
        config_from(
            environment.parsed_options, os.environ
        )  # an invalid option is reported here, not when a test starts
        if environment.host:
            require_authorized_host(environment.host, environment.parsed_options.i_own_this_host)
    except LoadTestError as error:
        _refuse(error)
    SLOEvaluator(environment, lambda: config_from(environment.parsed_options, os.environ), _show)


def _show(host: str, config: LoadTestConfig, seen: Observations, verdict: SLOVerdict) -> None:
    print(table(host, config, seen, verdict), flush=True)


def _refuse(error: LoadTestError) -> None:
    print(f"locust: {error}", file=sys.stderr)
    raise SystemExit(2)


events.init_command_line_parser.add_listener(_declare)
events.init.add_listener(_start)
