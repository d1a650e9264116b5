"""Exception of the training loop."""

from cluster.errors import ClusterError


class ContinuousTrainingError(ClusterError):
    """Failure to execute a step or to read the observed state; the same call tries again."""
