"""Tests of the preconditions of `make serve`: each fault is reported in one sentence before the start."""

import socket

import pytest

from serve_app.dev_server.launcher import free_port
from serve_app.dev_server.preconditions import LocalError, require_ports
from serve_app.errors import SettingsError
from serve_app.settings import settings_of


@pytest.mark.parametrize(
    ("service", "dashboard", "stated"),
    [
        (0, 8266, "port 0 of the service: expected 1 to 65535"),
        (99_999, 8266, "port 99999 of the service"),
        (8433, -1, "port -1 of the Ray dashboard"),
        (8433, 18_432, "Ray's workers"),
        (8433, 8433, "cannot both have port 8433"),
    ],
)
def test_ports_that_cannot_be_used(service: int, dashboard: int, stated: str) -> None:
    with pytest.raises(LocalError, match=stated):
        require_ports(service, dashboard, free_port())


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(LocalError, match="is in use by "):
        require_ports(free_port(), free_port(), taken.getsockname()[1])


@pytest.mark.parametrize(
    ("name", "value"),
    [("MAX_BATCH_TOKENS", "abc"), ("MAX_QUEUE_WAIT_S", "nan"), ("DEVICE", "tpu"), ("LOG_FRACTION", "0")],
)
def test_a_setting_that_is_not_valid_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"SENTIMENT_{name}: "):
        settings_of({f"SENTIMENT_{name}": value})
