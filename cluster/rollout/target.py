"""The seam to what serves: read which model every pod is to serve, and say it anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from cluster.rollout.errors import ForeignChange, LeaseLost
from cluster.rollout.plan import Step


@dataclass(frozen=True, slots=True)
class Mix:
    """Which model every pod is to serve.

    Attributes:
        champion: address of the model that all serve but the canary's pods.
        canary: address of the model under trial, or None.
        step: how far that is let in; None exactly where there is no canary.
    """

    champion: str
    canary: str | None = None
    step: Step | None = None


@dataclass(frozen=True, slots=True)
class Serving:
    """What the cluster says of itself.

    Attributes:
        mix: what the pods are told.
        replicas: that are to run.
        least: the fewest that may run: the autoscaler's minimum, or `replicas` without one.
        settled: whether every pod runs, and has done what it was told.
        message: what the cluster says where it is not.
        failed: whether it has given up.
        blocked: why nothing of it can be changed from here; empty where it can.
        fence: number of the rollout's change that wrote the mix; 0 where no rollout did.
    """

    mix: Mix
    replicas: int
    least: int
    settled: bool
    message: str = ""
    failed: bool = False
    blocked: str = ""
    fence: int = 0


@dataclass(frozen=True, slots=True)
class Guard:
    """What must hold where a mix is changed, checked against exactly what is replaced.

    Attributes:
        told: the mixes that the rollout may have had the pods serve so far.
        fence: number of the change; it rises with every transition of every rollout of a service, so a
            controller that was overtaken has a lower one (a fencing token: Kleppmann, "Designing
            Data-Intensive Applications" (2017), chapter 8).
    """

    told: frozenset[Mix]
    fence: int

    def check(self, there: Mix, fence: int) -> None:
        """Compare with what the pods are told now, and by which change.

        Raises:
            LeaseLost: a later change is in place.
            ForeignChange: the rollout has never had the pods serve this.
        """
        if fence > self.fence:
            raise LeaseLost(
                f"the pods serve {there} by change {fence} of a later controller, and this one has change "
                f"{self.fence}; nothing was changed: see `rollout status`"
            )
        if there not in self.told:
            raise ForeignChange(f"someone else changed what the pods serve, to {there}; it stays as it is")


class Target(Protocol):
    """What serves. Every call may be made again with the same result."""

    def read(self) -> Serving:
        """What is told and what runs. Raises TargetFailed."""

    def apply(self, mix: Mix, guard: Guard | None = None) -> None:
        """Have every pod serve a mix, and touch nothing else.

        Raises:
            TargetFailed: see `read`.
            ForeignChange, LeaseLost: the guard does not let what is there be replaced.
        """

    def scale(self, replicas: int) -> None:
        """Have so many pods: exactly, or at least where they are scaled by demand. Raises TargetFailed."""
