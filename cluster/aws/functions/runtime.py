"""Common parts of the Lambda functions: settings, boto3 clients with time limits, log lines in JSON."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

import boto3
from botocore.config import Config

Event = Mapping[str, Any]
"""Event of EventBridge that Lambda passes to the function."""

NAMESPACE = "Sentiment"
"""CloudWatch namespace of the functions' metrics."""

_CONNECT_S = 2.0
_LONGEST_READ_S = 10.0
_TRIES = 2
_RESERVE_S = 1.0
"""Time that remains for the function's log line after the last attempt has failed."""


class LambdaContext(Protocol):
    """Lambda's description of an invocation."""

    @property
    def aws_request_id(self) -> str:
        """Id that is the same for every attempt of an event."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the time until Lambda ends the function."""


class FunctionError(Exception):
    """Base class of the functions' errors: Lambda retries, then moves the event to the dead-letter queue."""


class SettingError(FunctionError):
    """A variable of the function's environment is missing or not valid."""


class EventError(FunctionError):
    """An event, or an object that it names, does not have the expected format."""


def setting(name: str, default: str | None = None) -> str:
    """Return a variable of the environment.

    Raises:
        SettingError: The variable is not set, and there is no default.
    """
    value = os.environ.get(name) or default
    if value is None:
        raise SettingError(f"{name} is not set; docs/pipelines.md lists the variables of each function")
    return value


def client(service: str, context: LambdaContext, *, tries: int = _TRIES) -> Any:
    """Return a boto3 client whose calls, with all attempts, end before Lambda ends the function.

    Args:
        service: Name of the service in boto3.
        context: Context of the invocation.
        tries: Number of attempts per call; 1 for calls that must not be repeated after a lost response.
    """
    left_s = context.get_remaining_time_in_millis() / 1000 - _RESERVE_S
    read_s = max(0.1, min(_LONGEST_READ_S, left_s / tries - _CONNECT_S))
    config = Config(
        connect_timeout=_CONNECT_S,
        read_timeout=read_s,
        retries={"mode": "standard", "total_max_attempts": tries},
    )
    return _session().client(service, config=config)


def put_metrics(
    context: LambdaContext,
    values: Mapping[str, tuple[float, str]],
    *,
    dimensions: Mapping[str, str],
    at: datetime,
) -> None:
    """Publish metrics in the namespace `NAMESPACE`.

    Args:
        context: Context of the invocation.
        values: Values by name of the metric, each with its CloudWatch unit.
        dimensions: Dimensions of each metric.
        at: Time stamp; the same for every delivery of an event.
    """
    data = [
        {
            "MetricName": name,
            "Dimensions": [{"Name": key, "Value": text} for key, text in dimensions.items()],
            "Timestamp": at,
            "Value": value,
            "Unit": unit,
        }
        for name, (value, unit) in values.items()
    ]
    client("cloudwatch", context).put_metric_data(Namespace=NAMESPACE, MetricData=data)


def time_of(event: Event) -> datetime:
    """Return the time of an event of EventBridge; raises EventError if it has none."""
    try:
        return datetime.fromisoformat(str(event["time"]))
    except (KeyError, ValueError) as error:
        raise EventError(f"the event has no valid `time`: {dict(event)}") from error


def log(message: str, context: LambdaContext, **fields: object) -> None:
    """Print a line of JSON, whose fields can be queried in CloudWatch Logs Insights."""
    line = {"message": message, "request_id": context.aws_request_id, **fields}
    print(json.dumps(line, default=str), flush=True)


@functools.cache
def _session() -> Any:
    """Return a session that all invocations share, because it caches the services' models."""
    return boto3.session.Session()
