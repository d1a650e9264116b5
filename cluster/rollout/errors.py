"""Every error of a rollout.

ClusterError
└── RolloutError      base
    ├── InvalidState  the verb does not fit the state; both are named
    ├── Busy          another controller holds the journal
    │   └── LeaseLost   this one held it, and does so no longer: its effects are not made
    ├── ForeignChange  somebody else changed what the pods serve: it stays
    ├── PlanInvalid   the plan, or a plan that the deployment is too small for
    ├── JournalDamaged  a line before the last is not what was written
    ├── JournalUnreached  the place that a journal lies in did not answer, or refused
    ├── TargetFailed  the cluster that serves did not answer, or refused
    │   └── TargetRefused  and will again: asking once more does not help
    ├── SourceFailed  the metrics could not be read
    ├── RegistryFailed  no such version, or the registry did not do its part
    └── DemoFailed    the demonstration could not be carried through
"""

from cluster.errors import ClusterError


class RolloutError(ClusterError):
    """Base of every error here."""


class InvalidState(RolloutError):
    """A verb that does not fit the rollout's state."""


class Busy(RolloutError):
    """Another controller is at work on this journal."""


class LeaseLost(Busy):
    """This controller no longer holds the journal, or a later one has changed what the pods serve."""


class ForeignChange(RolloutError):
    """What the pods serve is not what this rollout had them serve."""


class PlanInvalid(RolloutError):
    """The plan says something that is not understood or cannot be done."""


class JournalDamaged(RolloutError):
    """The journal is not one that was written here."""


class JournalUnreached(RolloutError):
    """The journal cannot be read or written where it lies."""


class TargetFailed(RolloutError):
    """The cluster that serves did not answer, or did not take what it was told."""


class TargetRefused(TargetFailed):
    """The cluster will not take it, however often it is told."""


class SourceFailed(RolloutError):
    """No metrics could be read."""


class RegistryFailed(RolloutError):
    """The registry has no such version, or could not be asked or written."""


class DemoFailed(RolloutError):
    """The demonstration, or what it needs, could not be carried through."""
