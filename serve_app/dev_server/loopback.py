"""Ray and Serve on the loopback interface alone, for a cluster of one machine.

Ray binds its own ports to 127.0.0.1 where the node's address is that. Serve binds HTTP ports to the
configured host. One port is left: each replica's gRPC server for other replicas, which Serve binds to all
interfaces and which unpickles what it receives. Ray imports this module at the start of each worker process
(`RAY_preload_python_modules`).
"""

from __future__ import annotations

import contextlib
from typing import Any

HOST = "127.0.0.1"
ENVIRONMENT = {
    # On a cluster that may not have more than one node, Ray does not replace 127.0.0.1 by another address.
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


# A Ray without this function is seen by the test that lists what listens; the service works with it too.
with contextlib.suppress(ImportError, AttributeError):
    _bind_replicas_to_loopback()
