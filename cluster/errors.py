"""Every error that the control plane raises on purpose.

ClusterError          base; a verb prints it and exits with 1
"""


class ClusterError(Exception):
    """Base of every error here."""
