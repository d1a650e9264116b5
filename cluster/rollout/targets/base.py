"""Interface of the deployment that serves: read which models the pods should serve, and change them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from cluster.rollout.errors import ForeignChangeError, LeaseLostError
from cluster.rollout.plan import CanaryPods


@dataclass(frozen=True, slots=True)
class TrafficSplit:
    """Models that the pods should serve.

    Attributes:
        champion: address of the model on all pods except those of the canary.
        canary: address of the model under trial, or None.
        step: pods of the canary; None exactly if there is no canary.
    """

    champion: str
    canary: str | None = None
    step: CanaryPods | None = None

    def __str__(self) -> str:
        if self.step is None:
            return self.champion
        shadow = "in shadow " * self.step.shadow
        return f"{self.champion}, {self.canary} {shadow}on {self.step.pods} pods"


@dataclass(frozen=True, slots=True)
class DeploymentState:
    """State that the cluster reports.

    Attributes:
        split: configured split of models.
        replicas: desired number of replicas.
        least: minimum number of replicas: the autoscaler's minimum, or `replicas` without an autoscaler.
        settled: whether every pod runs and has applied its configuration.
        message: message of the cluster if it is not settled.
        failed: whether the cluster has given up.
        blocked: why nothing can be changed by this rollout; empty if it can.
        fence: number of the rollout change that wrote the split; 0 if no rollout did.
    """

    split: TrafficSplit
    replicas: int
    least: int
    settled: bool
    message: str = ""
    failed: bool = False
    blocked: str = ""
    fence: int = 0


@dataclass(frozen=True, slots=True)
class SplitGuard:
    """Condition for the change of a split, checked against exactly the configuration that is replaced.

    Attributes:
        configured: splits that the rollout may have configured so far.
        fence: number of the change; it rises with every transition of every rollout of a service, so a
            controller that was replaced has a lower one (a fencing token: Kleppmann, "Designing
            Data-Intensive Applications" (2017), chapter 8).
    """

    configured: frozenset[TrafficSplit]
    fence: int

    def check(self, current: TrafficSplit, fence: int) -> None:
        """Check the split that is configured now, and the number of the change that configured it.

        Raises:
            LeaseLostError: a later change is in place.
            ForeignChangeError: the rollout has never configured this split.
        """
        if fence > self.fence:
            raise LeaseLostError(
                f"the pods serve {current} by change {fence} of another controller, later than change "
                f"{self.fence} of this one; nothing was changed: see `rollout status`"
            )
        if current not in self.configured:
            raise ForeignChangeError(
                f"another program or person changed the models of the pods to {current}; the rollout leaves "
                "them as they are"
            )


class Target(Protocol):
    """Deployment that serves the models. Every call is idempotent."""

    def read(self) -> DeploymentState:
        """Return the configured and the running state. Raises TargetError."""

    def apply(self, split: TrafficSplit, guard: SplitGuard | None = None) -> None:
        """Configure every pod with a split, and change nothing else.

        Raises:
            TargetError: as `read`.
            ForeignChangeError, LeaseLostError: the guard does not permit the replacement of the existing
            split.
        """

    def scale(self, replicas: int) -> None:
        """Set the number of pods, or its minimum if the deployment is autoscaled. Raises TargetError."""
