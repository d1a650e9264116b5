"""Termination grace periods of Ray pods, with which no request is lost."""

REPLICA_WAIT_S = 2
REPLICA_STOP_S = 35
"""Serve's graceful_shutdown_wait_loop_s and _timeout_s, as in serve_app/config.yaml."""
REPLICA_DRAIN_S = 30
"""RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S, within the timeout: time for which a stopping replica
answers."""
PROXY_DRAIN_S = 30
"""RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S: time for which a proxy without replicas answers."""
NODE_DRAIN_S = 30
"""RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S: time that `ray start --block` waits after SIGTERM."""
HAPROXY_STOP_S = 120
"""RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S: time in which a replaced HAProxy finishes its connections."""
ENDPOINTS_LAG_S = 15
"""preStop: time until load balancers and kube-proxy have removed the pod."""
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
"""Sum of the periods, which may follow each other. A spot node grants only 120 s: see docs/cluster.md."""

HEAD_GRACE_S = 5
"""The head serves no requests and needs no draining: its state is in Redis, or lost. The next head is created
after the pod has ended; without this limit the pod's autoscaler would wait 60 s for the GCS."""

DRAIN_ENVIRONMENT = {
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": str(REPLICA_DRAIN_S),
    "RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S": str(PROXY_DRAIN_S),
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": str(NODE_DRAIN_S),
    "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": str(HAPROXY_STOP_S),
}
"""Set on every Ray pod, so that the sum does not depend on the defaults of the Ray version."""
