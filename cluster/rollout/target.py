"""The seam to what serves: read which model every pod is to serve, and say it anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

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
    """

    mix: Mix
    replicas: int
    least: int
    settled: bool
    message: str = ""
    failed: bool = False
    blocked: str = ""


class Target(Protocol):
    """What serves. Every call may be made again with the same result."""

    def read(self) -> Serving:
        """What is told and what runs. Raises TargetFailed."""

    def apply(self, mix: Mix) -> None:
        """Tell every pod what to serve, and touch nothing else. Raises TargetFailed."""

    def scale(self, replicas: int) -> None:
        """Have so many pods: exactly, or at least where they are scaled by demand. Raises TargetFailed."""
