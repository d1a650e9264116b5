"""What every function has: settings from its environment, clients that give up in time, log lines in JSON."""

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
"""What Lambda hands over: an event of EventBridge."""

NAMESPACE = "Sentiment"
"""Of every metric that a function sends."""

_CONNECT_S = 2.0
_LONGEST_READ_S = 10.0
_TRIES = 2
_RESERVE_S = 1.0
"""Left to the function for its log line when the last try has failed."""


class Context(Protocol):
    """What Lambda says of an invocation."""

    @property
    def aws_request_id(self) -> str:
        """The same for every try of one event."""

    def get_remaining_time_in_millis(self) -> int:
        """Until Lambda ends the function."""


class FunctionError(Exception):
    """Base of what a function raises: Lambda tries again, then hands the event to the dead-letter queue."""


class SettingInvalid(FunctionError):
    """A variable of the function's environment is missing, or is not what it should be."""


class EventInvalid(FunctionError):
    """An event is not of the shape that its rule promises, or what it names is not what it should be."""


def setting(name: str, default: str | None = None) -> str:
    """A variable of the environment.

    Raises:
        SettingInvalid: it is not set, and there is no default.
    """
    value = os.environ.get(name) or default
    if value is None:
        raise SettingInvalid(f"{name} is not set; docs/pipelines.md lists the variables of each function")
    return value


def client(service: str, context: Context, *, tries: int = _TRIES) -> Any:
    """A boto3 client whose call, with all its tries, ends before Lambda ends the function.

    Args:
        service: as boto3 names it.
        context: of the invocation.
        tries: of a call; 1 for what must not be sent again when its answer is lost.
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
    context: Context, values: Mapping[str, tuple[float, str]], *, dimensions: Mapping[str, str], at: datetime
) -> None:
    """Send metrics of the namespace `NAMESPACE`.

    Args:
        context: of the invocation.
        values: by name, each with its CloudWatch unit.
        dimensions: of each.
        at: the moment they hold for; the same event sends the same moment again.
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
    """When an event of EventBridge happened; raises EventInvalid if it does not say so."""
    try:
        return datetime.fromisoformat(str(event["time"]))
    except (KeyError, ValueError) as error:
        raise EventInvalid(f"the event has no `time` as EventBridge writes it: {dict(event)}") from error


def log(message: str, context: Context, **fields: object) -> None:
    """One line of JSON, which CloudWatch Logs Insights finds by its fields."""
    line = {"message": message, "request_id": context.aws_request_id, **fields}
    print(json.dumps(line, default=str), flush=True)


@functools.cache
def _session() -> Any:
    """One for all invocations: what it has read of a service's model it keeps."""
    return boto3.session.Session()
