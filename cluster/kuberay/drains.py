"""How long a Ray pod takes to end without losing a request, and the grace periods."""

REPLICA_WAIT_S = 2
REPLICA_STOP_S = 35
"""Serve's graceful_shutdown_wait_loop_s and _timeout_s, as serve_app/config.yaml has them."""
REPLICA_DRAIN_S = 30
"""RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S, within the timeout: an ending replica still answers."""
PROXY_DRAIN_S = 30
"""RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S: how long a proxy without replicas goes on answering."""
NODE_DRAIN_S = 30
"""RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S: what `ray start --block` waits for after SIGTERM."""
HAPROXY_STOP_S = 120
"""RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S: until when a replaced HAProxy finishes what it holds."""
ENDPOINTS_LAG_S = 15
"""preStop: meanwhile every load balancer and kube-proxy learns that the pod takes no more requests."""
_MARGIN_S = 8

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

HEAD_GRACE_S = 5
"""The head serves nothing and has nothing to drain: its state is in Redis, or lost with it. The next head is
created once the pod is gone; without this limit the pod's autoscaler waits 60 s for the GCS that is gone."""

DRAIN_ENVIRONMENT = {
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": str(REPLICA_DRAIN_S),
    "RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S": str(PROXY_DRAIN_S),
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": str(NODE_DRAIN_S),
    "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": str(HAPROXY_STOP_S),
}
"""Set on every Ray pod, so that the sum above holds whatever a later Ray takes as its defaults."""
