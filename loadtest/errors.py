"""The errors of the load test: why a test could not run (exit code 2), never how it went.

CannotRun
├── NotOurHost           the host is not loopback and nobody said it is theirs
├── ServiceUnreachable   nothing answers there, or it is not ready
├── BadTexts             the file of texts cannot be used
└── BadPlan              the numbers asked for contradict each other
"""


class CannotRun(Exception):
    """The load test could not run; the message says what, where and the next step."""


class NotOurHost(CannotRun):
    """The host is not this machine, and `--i-own-this-host` was not given."""


class ServiceUnreachable(CannotRun):
    """No service answers `GET /v1/model` at the host with 200."""


class BadTexts(CannotRun):
    """A file of texts is missing, unreadable, of an unknown kind, or holds no text."""


class BadPlan(CannotRun):
    """The options contradict each other, or go beyond what one process may send."""
