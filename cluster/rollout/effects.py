"""Changes that a controller makes outside its journal: pods and aliases, each fenced and recorded."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from cluster.rollout.aliases import Aliases
from cluster.rollout.journal.base import Journal
from cluster.rollout.state import Rollout
from cluster.rollout.targets.base import DeploymentState, SplitGuard, Target

RAISED = 2
"""Number of replicas during the rollout if the deployment had one."""


class Effects:
    """Changes of a controller, each made only while the controller holds its journal.

    Args:
        journal: journal whose lock must be held.
        target: deployment that serves the models.
        aliases: registry aliases.
    """

    def __init__(self, journal: Journal, target: Target, aliases: Aliases) -> None:
        self._journal = journal
        self._target = target
        self._aliases = aliases
        self._done: list[str] = []

    def serving(self, rollout: Rollout) -> DeploymentState:
        """Return the reported state of the cluster.

        Raises:
            TargetError: the cluster cannot be read.
            ForeignChangeError, LeaseLostError: the pods are configured with a split that this rollout did not
            set.
        """
        serving = self._target.read()
        SplitGuard(rollout.configured, rollout.fence).check(serving.split, serving.fence)
        return serving

    def apply(self, rollout: Rollout) -> None:
        """Configure the pods with the split of the rollout's state; raises as `serving`."""
        guard = SplitGuard(rollout.configured, rollout.fence)
        self._make(f"pods configured with {rollout.split}", partial(self._target.apply, rollout.split, guard))

    def raise_replicas(self, rollout: Rollout) -> None:
        """Scale to at least two replicas; raises as `serving`."""
        if self.serving(rollout).least < RAISED:
            self._make(f"scaled to {RAISED}", partial(self._target.scale, RAISED))

    def put_back_replicas(self, rollout: Rollout) -> None:
        """Undo the rollout's own scaling, unless the deployment was scaled since; raises as `serving`."""
        before = rollout.raised_from
        if before is not None and self.serving(rollout).least == RAISED:
            self._make(f"scaled to {before}", partial(self._target.scale, before))

    def move(self, rollout: Rollout, alias: str, version: str | None) -> None:
        """Move an alias of the registered model, if there is one.

        Raises RolloutRegistryError, LeaseLostError.
        """
        self._move(self._aliases.move, rollout, alias, version)

    def restore(self, rollout: Rollout, alias: str, version: str | None) -> None:
        """Undo the rollout's move of an alias, if it made one; raises as `move`."""
        self._move(self._aliases.restore, rollout, alias, version)

    def forget(self) -> None:
        """Clear the list of changes, after a transition."""
        self._done.clear()

    def so_far(self, rollout: Rollout) -> str:
        """Describe the changes since the last transition, for a controller that stops before the next one."""
        done = "; ".join(self._done) or "nothing"
        return f" (since {rollout.state}, {rollout.reason!r}, this controller made these changes: {done})"

    def _move(
        self, move: Callable[[str, str, str | None], None], rollout: Rollout, alias: str, version: str | None
    ) -> None:
        if rollout.model is not None:
            what = f"{rollout.model}@{alias} moved to {version or 'nothing'}"
            self._make(what, partial(move, rollout.model, alias, version))

    def _make(self, what: str, change: Callable[[], None]) -> None:
        self._journal.check_held()
        change()
        self._done.append(what)
