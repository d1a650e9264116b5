"""Exceptions of a rollout.

ClusterError
└── RolloutError      base
    ├── InvalidState  the verb does not fit the state; the message names both
    ├── Busy          another controller holds the journal
    │   └── LeaseLost   this controller no longer holds the journal: its changes are not made
    ├── ForeignChange  something else changed what the pods serve; that change is kept
    ├── PlanInvalid   the plan is invalid, or the deployment is too small for it
    ├── JournalDamaged  an entry is damaged, or does not follow from the entries before it
    ├── JournalUnreached  the storage of the journal did not answer, or refused
    ├── TargetFailed  the cluster that serves did not answer, or refused
    │   └── TargetRefused  permanent refusal: a retry does not help
    ├── SourceFailed  the metrics could not be read
    ├── RegistryFailed  the version does not exist, or the registry failed
    └── DemoFailed    the demonstration could not be completed
"""

from cluster.errors import ClusterError


class RolloutError(ClusterError):
    """Base class of the exceptions of this package."""


class InvalidState(RolloutError):
    """Verb that does not fit the state of the rollout."""


class Busy(RolloutError):
    """Lock of the journal held by another controller."""


class LeaseLost(Busy):
    """Lock lost by this controller, or pods already changed by a later controller."""


class ForeignChange(RolloutError):
    """Model mix on the pods that this rollout did not configure."""


class PlanInvalid(RolloutError):
    """Plan with an invalid value, or one that the deployment cannot follow."""


class JournalDamaged(RolloutError):
    """Journal with an entry that is damaged, missing or out of order."""


class JournalUnreached(RolloutError):
    """Failure to read or write the journal in its storage."""


class TargetFailed(RolloutError):
    """Failure of the serving cluster to answer or to accept a change."""


class TargetRefused(TargetFailed):
    """Permanent refusal of a change by the cluster; a retry does not help."""


class SourceFailed(RolloutError):
    """Failure to read any metrics."""


class RegistryFailed(RolloutError):
    """Unknown version, or failure to read or write the registry."""


class DemoFailed(RolloutError):
    """Failure of the demonstration, or of something that it needs."""
