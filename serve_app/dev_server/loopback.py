"""Restriction of Ray and Serve to the loopback interface, for a single-machine cluster.

Ray binds its ports to 127.0.0.1 if the node has that address. Serve binds HTTP ports to the configured host.
One port remains: the gRPC server of each replica for other replicas, which Serve binds to all interfaces and
which unpickles the data it receives. This module binds it to the loopback interface; Ray imports the module
at the start of each worker process (`RAY_preload_python_modules`).
"""

from __future__ import annotations

import contextlib
from typing import Any

HOST = "127.0.0.1"
ENVIRONMENT = {
    # Without multi-node support, Ray does not replace 127.0.0.1 by another address.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "HAPROXY_METRICS_HOST": HOST,
}
MODULE = __name__


def _bind_replicas_to_loopback() -> None:
    from ray.serve._private import replica

    bind = replica.add_port_to_grpc_server

    def bind_to_loopback(server: Any, address: str) -> int:
        port: int = bind(server, f"{HOST}:{address.rpartition(':')[2]}")
        return port

    replica.add_port_to_grpc_server = bind_to_loopback


# In a Ray version without this function the service works too; the test of the listening ports then fails.
with contextlib.suppress(ImportError, AttributeError):
    _bind_replicas_to_loopback()
