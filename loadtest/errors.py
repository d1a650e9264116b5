"""Exceptions of the load test: why a test could not run (exit code 2), never its result.

CannotRun
├── NotOurHost           the host is not loopback and was not confirmed as the caller's own
├── ServiceUnreachable   no service answers at the host, or it is not ready
├── BadTexts             the file of texts cannot be used
└── BadPlan              the options contradict each other
"""


class CannotRun(Exception):
    """Failure to run the load test; the message states the fault, its position and the next step."""


class NotOurHost(CannotRun):
    """Host that is not this machine, without `--i-own-this-host`."""


class ServiceUnreachable(CannotRun):
    """Host at which no service answers `GET /v1/model` with 200."""


class BadTexts(CannotRun):
    """File of texts that is missing, unreadable, of an unknown kind, or without a text."""


class BadPlan(CannotRun):
    """Options that contradict each other, or exceed what one process may send."""
