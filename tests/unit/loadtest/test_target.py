"""Tests of the target of a load test: allowed hosts, reachability, and the served model."""

import socket

import pytest

from loadtest.errors import ServiceUnreachableError, UnauthorizedHostError
from loadtest.target import fetch_served_model, require_authorized_host, served_model_from


@pytest.mark.parametrize(
    "host",
    [
        "http://127.0.0.1:8000",
        "http://127.8.9.1",
        "http://localhost:8000",
        "https://[::1]:8000",
        "http://LOCALHOST",
    ],
)
def test_this_machine_may_be_loaded(host: str) -> None:
    require_authorized_host(host, owned=False)


@pytest.mark.parametrize(
    "host",
    [
        "http://192.0.2.1:8000",
        "http://0.0.0.0:8000",
        "https://example.com",
        "http://localhost.example.com",
        "http://127.0.0.1.example.com",
        "http://127.0.0.1@example.com/",
        "http://example.com/?127.0.0.1",
    ],
)
def test_any_other_host_needs_the_owners_word(host: str) -> None:
    with pytest.raises(UnauthorizedHostError, match="--i-own-this-host"):
        require_authorized_host(host, owned=False)
    require_authorized_host(host, owned=True)


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8000", "localhost", "ftp://127.0.0.1", "http://", "file:///etc/hosts"]
)
def test_what_is_no_base_url_is_refused_even_to_its_owner(host: str) -> None:
    with pytest.raises(UnauthorizedHostError, match="base URL"):
        require_authorized_host(host, owned=True)


def test_a_closed_port_says_how_to_start_the_service() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # reserves the port and refuses connections
        with pytest.raises(ServiceUnreachableError, match="make serve"):
            fetch_served_model(f"http://127.0.0.1:{taken.getsockname()[1]}", {})


def test_what_is_live_is_read() -> None:
    live = served_model_from({"name": "sentiment", "version": "1.0.0", "labels": ["a", "b"]})
    assert (live.name, live.version) == ("sentiment", "1.0.0")
    assert served_model_from([]).version == "unknown"
