"""The error of the loop."""

from cluster.errors import ClusterError


class LoopFailed(ClusterError):
    """A step could not be carried out, or what is known could not be read; the same call tries again."""
