"""Preconditions of `make serve`: a valid model, free ports, and API keys if other machines can reach it."""

from __future__ import annotations

import itertools
import shlex
import socket
import sys
from pathlib import Path

import psutil

from serve_app.errors import ServiceError
from serve_app.model import resolver
from serve_app.settings import Settings

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class LocalError(Exception):
    """Reason why the local service did not start or has ended, with the next step."""


_RAY_WORKER_PORTS = range(10_002, 20_000)


def require_ports(service: int, dashboard: int, metrics: int) -> None:
    """Raise LocalError if the ports of service, Ray dashboard and metrics cannot be used or are taken."""
    ports = (("the service", service), ("the Ray dashboard", dashboard), ("the metrics", metrics))
    for name, port in ports:
        if not 0 < port < 65_536:
            raise LocalError(f"port {port} of {name}: expected 1 to 65535")
        _require_free(name, port)
    for name, port in ports[1:]:
        if port in _RAY_WORKER_PORTS:
            raise LocalError(
                f"port {port} of {name} is in the range of Ray's workers, {_RAY_WORKER_PORTS.start} to "
                f"{_RAY_WORKER_PORTS.stop - 1}; choose another port (--dashboard-port, --metrics-port)"
            )
    for (name, port), (other, same) in itertools.combinations(ports, 2):
        if port == same:
            raise LocalError(f"{name} and {other} cannot both have port {port}; choose another")


def _require_free(name: str, port: int) -> None:
    """Raise LocalError with the process that holds the port, if it is in use."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
            return
        except OSError as error:
            reason = error.strerror
    listening = [link for link in psutil.net_connections("tcp") if link.status == psutil.CONN_LISTEN]
    holder = next((link.pid for link in listening if link.laddr and link.laddr.port == port), None)
    who = f" by {psutil.Process(holder).name()} (process {holder})" if holder else ""
    raise LocalError(
        f"port {port} of {name} is in use{who}: {reason}; stop that process, or choose another port "
        "(make serve PORT=… DASHBOARD_PORT=…)"
    )


def require_loopback(host: str) -> None:
    """Raise LocalError if a service without API keys would listen on a non-loopback address."""
    if host in LOOPBACK:
        return
    raise LocalError(
        f"the service would listen on {host} and answer everyone who can reach this machine; set "
        "SENTIMENT_API_KEYS or SENTIMENT_API_KEYS_FILE, or confirm that this is intended (make serve HOST=… "
        "INSECURE=1, or --insecure)"
    )


def interpreter(folder: Path) -> str:
    """Return a path of this Python interpreter that needs no shell quoting, because Ray does not quote it.

    Args:
        folder: Folder for a link to the environment, if the environment's own path needs quoting.
    """
    prefix = Path(sys.prefix)
    if shlex.quote(sys.prefix) == sys.prefix or not Path(sys.executable).is_relative_to(prefix):
        return sys.executable
    link = folder / "python"
    link.symlink_to(prefix)
    return str(link / Path(sys.executable).relative_to(prefix))


def require_model(model: str | None) -> None:
    """Download the model to the cache and check it; raise LocalError if it cannot be served."""
    settings = Settings()
    try:
        resolver.fetch(model or settings.model, cache_dir=settings.cache_dir)
    except ServiceError as error:
        raise LocalError(str(error)) from error
