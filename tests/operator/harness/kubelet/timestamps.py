"""Time stamps as Kubernetes writes them."""

import datetime


def now() -> str:
    """The current second, in UTC."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
