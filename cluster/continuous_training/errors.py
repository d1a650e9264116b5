"""Exception of the training loop."""

from cluster.errors import ClusterError


class LoopFailed(ClusterError):
    """Failure to execute a step or to read the facts; the same call tries again."""
