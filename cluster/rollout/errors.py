"""Exceptions of a rollout.

ClusterError
└── RolloutError                 base
    ├── RolloutStateError        the verb does not fit the state; the message names both
    ├── JournalLockedError       another controller holds the journal
    │   └── LeaseLostError       this controller no longer holds the journal: its changes are not made
    ├── ForeignChangeError       something else changed what the pods serve; that change is kept
    ├── RolloutPlanError         the plan is invalid, or the deployment is too small for it
    ├── JournalCorruptedError    an entry is damaged, or does not follow from the entries before it
    ├── JournalUnavailableError  the storage of the journal did not answer, or refused
    ├── TargetError              the cluster that serves did not answer, or refused
    │   └── TargetRejectedError  permanent refusal: a retry does not help
    ├── MetricSourceError        the metrics could not be read
    └── RolloutRegistryError     the version does not exist, or the registry failed
"""

from cluster.errors import ClusterError


class RolloutError(ClusterError):
    """Base class of the exceptions of this package."""


class RolloutStateError(RolloutError):
    """Verb that does not fit the state of the rollout."""


class JournalLockedError(RolloutError):
    """Lock of the journal held by another controller."""


class LeaseLostError(JournalLockedError):
    """Lock lost by this controller, or pods already changed by a later controller."""


class ForeignChangeError(RolloutError):
    """Traffic split on the pods that this rollout did not configure."""


class RolloutPlanError(RolloutError):
    """Plan with an invalid value, or one that the deployment cannot follow."""


class JournalCorruptedError(RolloutError):
    """Journal with an entry that is damaged, missing or out of order."""


class JournalUnavailableError(RolloutError):
    """Failure to read or write the journal in its storage."""


class TargetError(RolloutError):
    """Failure of the serving cluster to answer or to accept a change."""


class TargetRejectedError(TargetError):
    """Permanent refusal of a change by the cluster; a retry does not help."""


class MetricSourceError(RolloutError):
    """Failure to read any metrics."""


class RolloutRegistryError(RolloutError):
    """Unknown version, or failure to read or write the registry."""
