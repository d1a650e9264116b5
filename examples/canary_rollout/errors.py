"""Exception of the example."""

from cluster.rollout.errors import RolloutError


class ExampleError(RolloutError):
    """Failure of the example, or of something that it needs."""
