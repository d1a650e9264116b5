"""Environment of every Ray node that runs the service, on one machine and on Kubernetes."""

from __future__ import annotations

from pathlib import Path

ONE_HOP = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_DEFAULT_HTTP_HOST": "0.0.0.0",
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve_app.http.load_shedding:middlewares",
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1",
    "RAY_SERVE_HAPROXY_MAXCONN": "8192",
    "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "60",
    "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S": "120",
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "2",
}
"""Environment of every Ray node for direct ingress: HAProxy sends requests to the replicas without another
hop, and a replica with a full queue refuses them at once. HAProxy's per-request metrics in Ray are disabled:
the replica counts requests, and HAProxy's own Prometheus endpoint counts those that reach no replica. Serve
writes each line of a replica's log immediately; by default it buffers a thousand lines, which a killed
replica loses and which are written all at once between two requests. Connections and idle times are bounded;
a proxy that has died is replaced after three failed health checks."""

HAPROXY = Path(__file__).parent / "haproxy" / "haproxy"
"""RAY_SERVE_HAPROXY_BINARY_PATH: starts HAProxy with this service's timeouts, error responses and a
standby."""
