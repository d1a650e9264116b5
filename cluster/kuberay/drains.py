"""How long a Ray pod takes to end without losing a request, and the grace period that exceeds it."""

REPLICA_WAIT_S = 2
REPLICA_STOP_S = 20
"""Serve's graceful_shutdown_wait_loop_s and _timeout_s, as serve_app/config.yaml has them."""
PROXY_DRAIN_S = 30
"""RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S: how long a proxy without replicas goes on answering."""
NODE_DRAIN_S = 30
"""RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S: what `ray start --block` waits for after SIGTERM."""
HAPROXY_STOP_S = 120
"""RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S: until when a replaced HAProxy finishes what it holds."""
ENDPOINTS_LAG_S = 15
"""preStop: meanwhile every load balancer and kube-proxy learns that the pod takes no more requests."""
_MARGIN_S = 23

TERMINATION_GRACE_S = (
    ENDPOINTS_LAG_S
    + REPLICA_WAIT_S
    + REPLICA_STOP_S
    + PROXY_DRAIN_S
    + NODE_DRAIN_S
    + HAPROXY_STOP_S
    + _MARGIN_S
)
"""Their sum, since they may follow each other. A spot node gives 120 s all the same: see docs/cluster.md."""

DRAIN_ENVIRONMENT = {
    "RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S": str(PROXY_DRAIN_S),
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": str(NODE_DRAIN_S),
    "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": str(HAPROXY_STOP_S),
}
"""Set on every Ray pod, so that the sum above holds whatever a later Ray takes as its defaults."""
