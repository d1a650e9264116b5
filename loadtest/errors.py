"""Exceptions of the load test: why a test could not run (exit code 2), never its result.

LoadTestError
├── UnauthorizedHostError     the host is not loopback and was not confirmed as the caller's own
├── ServiceUnreachableError   no service answers at the host, or it is not ready
├── TextsError                the file of texts cannot be used
└── ConfigError               the options contradict each other
"""


class LoadTestError(Exception):
    """Failure to run the load test; the message states the fault, its position and the next step."""


class UnauthorizedHostError(LoadTestError):
    """Host that is not this machine, without `--i-own-this-host`."""


class ServiceUnreachableError(LoadTestError):
    """Host at which no service answers `GET /v1/model` with 200."""


class TextsError(LoadTestError):
    """File of texts that is missing, unreadable, of an unknown kind, or without a text."""


class ConfigError(LoadTestError):
    """Options that contradict each other, or exceed what one process may send."""
