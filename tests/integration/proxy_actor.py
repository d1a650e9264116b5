"""Ray Serve's own HAProxy manager in a separate process, as its proxy actor, but without a Ray cluster.

    python proxy_actor.py FOLDER PORT METRICS_PORT STATS_PORT

It reads replicas from standard input, one line for each change, as ports or as ADDRESS:PORT, and writes the
process id of HAProxy when the change is in effect.
"""

from __future__ import annotations

import asyncio
import sys

from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
from ray.serve.config import HTTPOptions


async def main(folder: str, port: int, metrics_port: int, stats_port: int) -> None:
    config = HAProxyConfig(
        http_options=HTTPOptions(host="127.0.0.1", port=port),
        socket_path=f"{folder}/admin.sock",
        server_state_base=folder,
        server_state_file=f"{folder}/server-state",
        metrics_port=metrics_port,
        stats_port=stats_port,
        is_head=True,
        has_received_routes=True,
    )
    proxy = HAProxyApi(config, config_file_path=f"{folder}/haproxy.cfg")
    await proxy.start()
    while True:
        assert proxy._proc is not None
        print(proxy._proc.pid, flush=True)
        line = await asyncio.to_thread(sys.stdin.readline)
        if not line:
            await proxy.stop()
            return
        places = [f"127.0.0.1:{word}".split(":")[-2:] for word in line.split()]
        servers = [ServerConfig(f"replica-{port}", host, int(port)) for host, port in places]
        fallback = ServerConfig("fallback", "127.0.0.1", port)
        backend = BackendConfig(
            "http-sentiment", "/", servers=servers, app_name="sentiment", fallback_server=fallback
        )
        proxy.set_backend_configs({backend.name: backend} if servers else {})
        await proxy.reload()


if __name__ == "__main__":
    folder, *ports = sys.argv[1:]
    asyncio.run(main(folder, *map(int, ports)))
