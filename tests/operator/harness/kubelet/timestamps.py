"""Time stamps in the format of Kubernetes."""

import datetime


def now() -> str:
    """Return the current second in UTC."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
